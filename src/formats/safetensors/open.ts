/** Opens a file, a folder or an index. */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import { compareNames } from '../../model/names.js'
import {
  originOf,
  type FileDescription,
  type ModelInput,
  type OpenedModelOf,
  type PlacedTensor,
  type Reading,
} from '../format.js'
import { dequantized } from './fp8.js'
import type { SafetensorsModel } from './model.js'
import { openShards, type Shard } from './shards.js'
import { readSideFiles } from './side-files.js'

/** @throws AprError for every rule that headers can break, and for files that do not make one model */
export async function openModel(input: ModelInput, { fp8 = 'BF16' }: Reading = {}): Promise<OpenedSafetensorsModel> {
  const shards = await openShards(input)
  const { files, sources: beside } = await readSideFiles(input)
  const sources = shards.map(({ source }) => source)
  const stored = shards.flatMap(({ header }, file) =>
    header.tensors
      .map(({ tensor, position }): PlacedTensor => ({ tensor, file, position, padding: 0 }))
      .sort((a, b) => compareNames(a.tensor.name, b.tensor.name)),
  )
  const tensors = dequantized(stored, configOf(files), sources, fp8)
  const isRounded = ({ file }: PlacedTensor): boolean => fp8 === 'BF16' && file >= shards.length
  const fromFp8 = tensors.filter(isRounded).map(({ tensor }) => tensor.name)
  const origin = originOf(sources)
  const model: SafetensorsModel = Object.freeze({
    format: 'safetensors',
    tensors: Object.freeze(tensors.map(({ tensor }) => tensor)),
    metadata: shards[0]?.header.metadata ?? {},
    folder: input.folderName,
    // Weights that are no longer in FP8 must not be called so.
    files: tensors.length === stored.length ? files : withoutQuantization(files),
    ...(fromFp8.length > 0 && { fromFp8: new Set(fromFp8) }),
    ...(origin && { origin }),
  })
  return new OpenedSafetensorsModel(input, shards, beside, sources, model, tensors)
}

function configOf(files: ReadonlyMap<string, Uint8Array>): unknown {
  const bytes = files.get('config.json')
  if (!bytes) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new AprError('APR_BAD_METADATA', 'expected config.json to be JSON, found other text', {}, { cause })
  }
}

function withoutQuantization(files: Map<string, Uint8Array>): Map<string, Uint8Array> {
  const config = { ...(configOf(files) as Record<string, unknown>) }
  delete config['quantization_config']
  return new Map(files).set('config.json', new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`))
}

class OpenedSafetensorsModel implements OpenedModelOf<SafetensorsModel> {
  readonly input: ModelInput
  readonly sources: readonly ByteSource[]
  readonly model: SafetensorsModel
  readonly tensors: readonly PlacedTensor[]
  readonly hasChecksum = false
  readonly #shards: readonly Shard[]
  readonly #beside: readonly ByteSource[]

  constructor(
    input: ModelInput,
    shards: readonly Shard[],
    beside: readonly ByteSource[],
    sources: readonly ByteSource[],
    model: SafetensorsModel,
    tensors: readonly PlacedTensor[],
  ) {
    this.input = input
    this.sources = sources
    this.model = model
    this.tensors = tensors
    this.#shards = shards
    this.#beside = beside
  }

  get size(): number {
    return this.#shards.reduce((sum, { source }) => sum + source.size, 0)
  }

  get version(): string | undefined {
    // What stands beside counts: the configuration says what becomes of the tensors.
    const versions = [...this.#shards.map(({ source }) => source), ...this.#beside].map(({ version }) => version)
    return versions.includes(undefined) ? undefined : versions.join(' ')
  }

  describe(): FileDescription {
    const { metadata, files } = this.model
    const sideFiles = Object.fromEntries(Array.from(files, ([name, { length }]) => [name, length]))
    return { version: '', metadata, sideFiles }
  }

  passed(): void {
    // There is no checksum.
  }

  async finish(): Promise<void> {
    // Header and tensors are all that there is.
  }
}
