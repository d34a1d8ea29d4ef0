/** Which files make up a model: a file alone, all of a folder, or those that an index names. */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError, printable } from '../../model/errors.js'
import { found, isFields } from '../../model/found.js'
import { compareNames, nameTwice } from '../../model/names.js'
import type { ModelInput } from '../format.js'
import { readHeader, type FileHeader } from './header.js'

export const SINGLE_NAME = 'model.safetensors'
export const INDEX_NAME = 'model.safetensors.index.json'
const MAX_INDEX_BYTES = 100_000_000

/** A file of a model, and its header. */
export interface Shard {
  readonly name: string
  readonly source: ByteSource
  readonly header: FileHeader
}

/** Whether a file is an index of shards, by its name. */
export function isIndexName(fileName: string): boolean {
  return fileName.endsWith('.safetensors.index.json')
}

/**
 * Opens every file of the model, in the order of their names.
 * @throws AprError for files that are missing, or that do not make one model
 */
export async function openShards(input: ModelInput): Promise<Shard[]> {
  const { file, fileName } = input
  if (file && !isIndexName(fileName)) return [await openShard(file, fileName)]
  const index = file ? { name: fileName, source: file } : await findIndex(input)
  if (index) return await openIndexed(input, index)
  const names = (await input.list()).filter((name) => name.startsWith('model') && name.endsWith('.safetensors'))
  if (names.length === 0) throw await nothingFound(input)
  const shards = await openAll(input, names)
  holdersOf(shards)
  return shards
}

async function findIndex(input: ModelInput): Promise<{ name: string; source: ByteSource } | undefined> {
  const source = await input.open(INDEX_NAME)
  if (!source) return undefined
  const single = (await input.list()).includes(SINGLE_NAME)
  if (!single) return { name: INDEX_NAME, source }
  const map = await readIndex(source)
  if ([...map.values()].includes(SINGLE_NAME)) return { name: INDEX_NAME, source }
  const what = `expected ${SINGLE_NAME} or ${INDEX_NAME}, found both, and the index does not name the file: one is left over; remove it, or give the one that is meant`
  throw new AprError('APR_BAD_INDEX', what, { file: input.name })
}

async function nothingFound(input: ModelInput): Promise<AprError> {
  const others = (await input.list()).filter((name) => /\.(safetensors|bin|gguf|apr|pth|pt)$/.test(name))
  const beside =
    others.length > 0
      ? `, but ${others
          .slice(0, 3)
          .map((name) => printable(name))
          .join(', ')}`
      : ''
  const what = `expected a folder with ${SINGLE_NAME}, or ${INDEX_NAME} and its shards, found none of them${beside}`
  return new AprError('APR_BAD_INDEX', what, { file: input.name })
}

async function readIndex(source: ByteSource): Promise<ReadonlyMap<string, string>> {
  const place = { file: source.name }
  if (source.size > MAX_INDEX_BYTES) {
    throw new AprError(
      'APR_LIMIT',
      `expected an index of at most ${MAX_INDEX_BYTES} bytes, found ${source.size}`,
      place,
    )
  }
  const bytes = new Uint8Array(source.size)
  await source.read(bytes, 0)
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const what = `expected an index of JSON in UTF-8, found other text: ${printable((cause as Error).message)}`
    throw new AprError('APR_BAD_INDEX', what, place, { cause })
  }
  const map = isFields(value) ? value['weight_map'] : undefined
  const names = isFields(map) ? Object.values(map) : []
  const odd = isFields(map) && names.length > 0 ? names.find((name) => typeof name !== 'string') : map
  if (odd === undefined && names.length > 0) return new Map(Object.entries(map as Record<string, string>))
  const what = `expected weight_map to be an object of tensors and the names of their files, found ${found(odd)}`
  throw new AprError('APR_BAD_INDEX', what, place)
}

async function openIndexed(input: ModelInput, index: { name: string; source: ByteSource }): Promise<Shard[]> {
  const map = await readIndex(index.source)
  const shards = await openAll(input, [...new Set(map.values())], index.name)
  const place = { file: index.source.name }
  const holders = holdersOf(shards)
  for (const [tensor, name] of holders) {
    const indexed = map.get(tensor)
    if (indexed === name) continue
    const where = indexed === undefined ? 'no such tensor in the index' : `${printable(indexed)} in the index`
    const what = `expected an index that agrees with its shards, found a tensor in ${printable(name)}, and ${where}`
    throw new AprError('APR_BAD_INDEX', what, { ...place, tensor })
  }
  for (const [tensor, name] of map) {
    if (holders.has(tensor)) continue
    const what = `expected the tensor in ${printable(name)}, where the index has it, found none of that name`
    throw new AprError('APR_BAD_INDEX', what, { ...place, tensor })
  }
  return shards
}

async function openAll(input: ModelInput, names: readonly string[], index?: string): Promise<Shard[]> {
  const shards: Shard[] = []
  for (const name of [...names].sort(compareNames)) {
    const source = await input.open(name)
    if (!source) {
      const what = `expected the shard ${printable(name)} that ${index ?? 'the folder'} names, found no such file`
      throw new AprError('APR_BAD_INDEX', what, { file: input.name })
    }
    shards.push(await openShard(source, name))
  }
  return shards
}

async function openShard(source: ByteSource, name: string): Promise<Shard> {
  try {
    return { name, source, header: await readHeader(source) }
  } catch (error) {
    throw error instanceof AprError ? error.at({ file: source.name }) : error
  }
}

/**
 * In which shard each tensor is.
 * @throws AprError `APR_BAD_INDEX` for one that is in two
 */
function holdersOf(shards: readonly Shard[]): ReadonlyMap<string, string> {
  const holders = new Map<string, string>()
  for (const { name, header } of shards) {
    for (const { tensor } of header.tensors) {
      const other = holders.get(tensor.name)
      if (other !== undefined) {
        const { what } = nameTwice(tensor.name)
        const where = `in ${printable(other)} and ${printable(name)}`
        throw new AprError('APR_BAD_INDEX', `${what}: ${where}`, { tensor: tensor.name })
      }
      holders.set(tensor.name, name)
    }
  }
  return holders
}
