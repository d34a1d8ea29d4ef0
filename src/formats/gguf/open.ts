/** Opens a file, or all parts of a split model by its first. */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError, printable } from '../../model/errors.js'
import { checkNames } from '../../model/names.js'
import {
  checkZero,
  fileOf,
  originOf,
  type FileDescription,
  type ModelInput,
  type OpenedModelOf,
  type PlacedTensor,
} from '../format.js'
import { align, readHeader, type Header } from './header.js'
import { typeName } from './kv.js'
import { metadataOf } from './metadata.js'
import type { GgufModel } from './model.js'
import { checkPart, partNames, splitOf, withoutSplit, type Split } from './split.js'

/** A file, and its header. */
interface Part {
  readonly source: ByteSource
  readonly header: Header
}

/** Bytes of padding that are read at once. */
const CHUNK_BYTES = 64 * 1024

/** @throws AprError for every rule that headers can break, and for parts that do not make one model */
export async function openModel(input: ModelInput): Promise<OpenedGgufModel> {
  const file = fileOf(input)
  const first = { source: file, header: await readHeader(file) }
  const parts: Part[] = [first]
  const split = splitOf(first.header.kvs)
  if (split) {
    for (const [index, name] of partNames(input.fileName, split).entries()) {
      if (index > 0) parts.push(await openPart(input, name, index, split))
    }
    const found = parts.reduce((sum, { header }) => sum + header.tensors.length, 0)
    if (found !== split.tensors) {
      throw new AprError(
        'APR_BAD_INDEX',
        `expected ${split.tensors} tensors in all ${split.count} parts, found ${found}`,
      )
    }
  }
  const tensors = parts.flatMap((part, index) => placeTensors(part, index))
  if (parts.length > 1) checkNames(tensors.map(({ tensor }) => tensor))
  const origin = originOf(parts.map(({ source }) => source))
  const model: GgufModel = Object.freeze({
    format: 'gguf',
    tensors: Object.freeze(tensors.map(({ tensor }) => tensor)),
    kvs: Object.freeze(withoutSplit(first.header.kvs)),
    ...(origin && { origin }),
  })
  return new OpenedGgufModel(input, parts, model, tensors)
}

async function openPart(input: ModelInput, name: string, index: number, first: Split): Promise<Part> {
  const source = await input.open(name)
  if (!source) {
    const what = `expected part ${index + 1} of ${first.count}, ${printable(name)}, beside the first, found no such file`
    throw new AprError('APR_BAD_INDEX', what, { file: input.name })
  }
  try {
    const header = await readHeader(source)
    checkPart(header.kvs, index, first)
    return { source, header }
  } catch (error) {
    throw error instanceof AprError ? error.at({ file: source.name }) : error
  }
}

/** @throws AprError `APR_TRUNCATED` for data beyond the end, `APR_BAD_INDEX` for bytes behind them */
function placeTensors({ source, header }: Part, file: number): PlacedTensor[] {
  const { dataStart, alignment, tensors } = header
  const last = tensors.at(-1)
  const end = last ? dataStart + last.offset + last.tensor.size : header.end
  const padded = align(end, alignment)
  const place = { file: source.name }
  if (end > source.size) {
    const what = `expected tensor data up to byte ${end}, found a file of ${source.size} bytes`
    throw new AprError('APR_TRUNCATED', what, { ...place, ...(last && { tensor: last.tensor.name }) })
  }
  if (source.size > padded) {
    const what = `expected the end of the file at byte ${padded}, behind all tensors, found ${source.size - padded} bytes more`
    throw new AprError('APR_BAD_INDEX', what, { ...place, offset: padded })
  }
  return tensors.map(({ tensor, offset }, i) => {
    const position = dataStart + offset
    const next = tensors[i + 1]
    // What the last one is padded with some writers leave out.
    const until = next ? dataStart + next.offset : source.size
    return { tensor, file, position, padding: until - position - tensor.size }
  })
}

class OpenedGgufModel implements OpenedModelOf<GgufModel> {
  readonly input: ModelInput
  readonly sources: readonly ByteSource[]
  readonly model: GgufModel
  readonly tensors: readonly PlacedTensor[]
  readonly hasChecksum = false
  readonly #parts: readonly Part[]

  constructor(input: ModelInput, parts: readonly Part[], model: GgufModel, tensors: readonly PlacedTensor[]) {
    this.input = input
    this.#parts = parts
    this.sources = parts.map(({ source }) => source)
    this.model = model
    this.tensors = tensors
  }

  get size(): number {
    return this.sources.reduce((sum, { size }) => sum + size, 0)
  }

  get version(): string | undefined {
    const versions = this.sources.map(({ version }) => version)
    return versions.includes(undefined) ? undefined : versions.join(' ')
  }

  describe(): FileDescription {
    const { kvs } = this.model
    return {
      version: String(this.#parts[0]?.header.version),
      metadata: metadataOf(kvs),
      metadataTypes: Object.fromEntries(kvs.map((pair) => [pair.key, typeName(pair)])),
    }
  }

  passed(): void {
    // There is no checksum.
  }

  /** Checks what stands between the index and the data. */
  async finish(): Promise<void> {
    for (const { source, header } of this.#parts) {
      const end = Math.min(source.size, header.dataStart)
      for (let at = header.end; at < end; at += CHUNK_BYTES) {
        const padding = new Uint8Array(Math.min(CHUNK_BYTES, end - at))
        await source.read(padding, at)
        checkZero(padding, at, source.name)
      }
    }
  }
}
