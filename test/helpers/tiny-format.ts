/**
 * A format of the tests' own: `TINY`, the size of the index, the index as JSON, the tensors' data without padding, and
 * as a checksum the exclusive or of the tensors' CRC-32.
 */
import { crc32 } from 'node:zlib'
import type { ByteSource, DType, ModelOf, TensorInfo } from 'apr-stream'
import {
  fileOf,
  type FileLayout,
  type FormatOf,
  type ModelInput,
  type OpenedModel,
  type OpenedModelOf,
  type PlacedTensor,
} from '../../dist/formats/format.js'
import { AprError } from 'apr-stream'

export interface TinyModel extends ModelOf<'tiny'> {
  readonly note: string
}

const HEAD_BYTES = 8
const TAIL_BYTES = 4

export const tiny: FormatOf<TinyModel> = {
  name: 'tiny',
  isSplittable: false,
  extension: '.tiny',
  matches: (start) => start !== undefined && Buffer.from(start.subarray(0, 4)).toString('latin1') === 'TINY',
  async open(input) {
    const source = fileOf(input)
    const start = await read(source, 0, HEAD_BYTES)
    if (start.toString('latin1', 0, 4) !== 'TINY') {
      throw new AprError('APR_BAD_MAGIC', `expected TINY, found ${start.toString('hex', 0, 4)}`)
    }
    const index = await read(source, HEAD_BYTES, start.readUInt32LE(4))
    const { note, tensors } = JSON.parse(index.toString()) as { note: string; tensors: TensorInfo[] }
    const model = Object.freeze({
      format: 'tiny' as const,
      note,
      tensors,
      ...(source.identity && { origin: source.identity }),
    })
    return new OpenedTiny(input, model, place(tensors, HEAD_BYTES + index.length))
  },
  layout(model, { name }) {
    const index = Buffer.from(JSON.stringify({ note: model.note, tensors: model.tensors }))
    const tensors = place(model.tensors, HEAD_BYTES + index.length)
    const end = HEAD_BYTES + index.length + model.tensors.reduce((sum, { size }) => sum + size, 0)
    const file: FileLayout = {
      name,
      fileSize: end + TAIL_BYTES,
      sealBytes: HEAD_BYTES,
      head() {
        const start = Buffer.from('TINY____')
        start.writeUInt32LE(index.length, 4)
        return Buffer.concat([start, index])
      },
      tail(_head, crc) {
        const tail = Buffer.alloc(TAIL_BYTES)
        tail.writeUInt32LE(tensors.reduce((sum, { tensor }) => (sum ^ crc(tensor.name)) >>> 0, 0))
        return tail
      },
    }
    return { tensors, files: [file] }
  },
  checkTensor: () => undefined,
  isPossibleSize: () => true,
  withTensors: (model, tensors) => Object.freeze({ ...model, tensors }),
  withQuantized: (model, tensors) => Object.freeze({ ...model, tensors }),
  metadata: ({ note }) => ({ note }),
  withMetadata: (model, changes) => Object.freeze({ ...model, ...changes }),
  describeMetadata: ({ note }) => [{ key: 'note', type: 'string', value: note }],
  metadataBytes: ({ note }) => note.length,
}

class OpenedTiny implements OpenedModelOf<TinyModel> {
  readonly hasChecksum = true
  readonly #crcs = new Map<PlacedTensor, number>()

  readonly input: ModelInput
  readonly sources: readonly ByteSource[]
  readonly model: TinyModel
  readonly tensors: readonly PlacedTensor[]

  constructor(input: ModelInput, model: TinyModel, tensors: readonly PlacedTensor[]) {
    this.input = input
    this.sources = [fileOf(input)]
    this.model = model
    this.tensors = tensors
  }

  get size(): number {
    return fileOf(this.input).size
  }

  get version(): string | undefined {
    return fileOf(this.input).version
  }

  describe(): ReturnType<OpenedModel['describe']> {
    return { version: '1', flags: 0, flagNames: [], metadata: { note: this.model.note }, metadataText: '' }
  }

  passed(tensor: PlacedTensor, data: Uint8Array): void {
    this.#crcs.set(tensor, data.length === 0 ? 0 : crc32(data, this.#crcs.get(tensor) ?? 0))
  }

  async finish(): Promise<void> {
    const stored = (await read(fileOf(this.input), this.size - TAIL_BYTES, TAIL_BYTES)).readUInt32LE(0)
    const found = [...this.#crcs.values()].reduce((sum, crc) => (sum ^ crc) >>> 0, 0)
    if (found !== stored) throw new AprError('APR_BAD_CRC', `expected ${found}, found ${stored}`)
  }
}

function place(tensors: readonly TensorInfo[], start: number): PlacedTensor[] {
  let end = start
  return tensors.map((tensor) => {
    const position = end
    end += tensor.size
    return { tensor, file: 0, position, padding: 0 }
  })
}

async function read(source: ByteSource, position: number, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size)
  await source.read(bytes, position)
  return bytes
}

/** A file of this format. */
export function tinyFile(
  note: string,
  tensors: readonly { name: string; dtype: DType; shape: number[]; bytes: Buffer }[],
): Buffer {
  const infos = tensors.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, size: bytes.length }))
  const layout = tiny.layout({ format: 'tiny', note, tensors: infos }, { name: 'a.tiny', isFolder: false })
  const [file] = layout.files
  const start = Buffer.from(file.head())
  const crcs = new Map(tensors.map(({ name, bytes }) => [name, bytes.length === 0 ? 0 : crc32(bytes)]))
  return Buffer.concat([start, ...tensors.map(({ bytes }) => bytes), file.tail(start, (name) => crcs.get(name) ?? 0)])
}
