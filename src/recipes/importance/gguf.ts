/**
 * The GGUF form of an importance matrix: of each tensor NAME two more, `NAME.in_sum2`, sums of squares a column of each
 * matrix, and `NAME.counts`, how many were summed up in each matrix.
 */
import type { PlacedTensor, ModelInput } from '../../formats/format.js'
import { arrayElements, findKv, FORMATS, kvValue, typeName, type Kv } from '../../formats/formats.js'
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import { elementCount } from '../../model/tensor.js'
import { checkLimit, chunksOf, MAX_MATRICES, type Entry, type ImportanceIndex } from './index-of.js'

const SUMS = '.in_sum2'
const COUNTS = '.counts'
const DATASETS_KEY = 'imatrix.datasets'
const CHUNK_COUNT_KEY = 'imatrix.chunk_count'
const KEYS = [DATASETS_KEY, CHUNK_COUNT_KEY, 'imatrix.chunk_size'] as const

export async function isGguf(source: ByteSource): Promise<boolean> {
  const start = new Uint8Array(Math.min(4, source.size))
  await source.read(start, 0)
  return FORMATS.gguf.matches(start, '')
}

/** @throws AprError for a file that is not GGUF, and for one that is no importance matrix */
export async function indexGguf(source: ByteSource): Promise<ImportanceIndex> {
  const { model, tensors } = await FORMATS.gguf.open(alone(source))
  for (const key of KEYS) checkKey(model.kvs, key)
  const byName = new Map(tensors.map((placed) => [placed.tensor.name, placed]))
  const entries = new Map<string, Entry>()
  for (const placed of tensors) {
    const { name } = placed.tensor
    if (name.endsWith(COUNTS)) other(byName, name, COUNTS, SUMS)
    if (!name.endsWith(SUMS)) continue
    const counts = other(byName, name, SUMS, COUNTS)
    entries.set(name.slice(0, -SUMS.length), await readEntry(source, placed, counts))
  }
  if (entries.size === 0) {
    const what = `expected an importance matrix, with tensors that end with ${SUMS} and ${COUNTS}, found none`
    throw new AprError('APR_BAD_INDEX', what)
  }
  const [dataset] = textsOf(model.kvs)
  return { entries, dataset, chunks: chunksOf(Number(kvOf(model.kvs, CHUNK_COUNT_KEY))) }
}

/** A file without others beside it: a matrix in several files is refused. */
function alone(file: ByteSource): ModelInput {
  return {
    ...{ name: file.name, file, fileName: '', folderName: '' },
    list: () => Promise.resolve([]),
    open: () => Promise.resolve(undefined),
    checkUnchanged: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
}

/** @throws AprError `APR_BAD_METADATA`; of an odd type only the count matters */
function checkKey(kvs: readonly Kv[], key: string): void {
  const pair = findKv(kvs, key)
  if (pair && (key === DATASETS_KEY || pair.type === 'u32')) return
  const expected = `${key}${key === DATASETS_KEY ? '' : ', a u32,'} in an importance matrix`
  throw new AprError('APR_BAD_METADATA', `expected ${expected}, found ${pair ? `a ${typeName(pair)}` : 'none'}`)
}

function kvOf(kvs: readonly Kv[], key: string): unknown {
  const pair = findKv(kvs, key)
  return pair && kvValue(pair)
}

function textsOf(kvs: readonly Kv[]): string[] {
  const pair = findKv(kvs, DATASETS_KEY)
  return pair && typeName(pair) === 'string[]' ? [...arrayElements(pair, 1)].map(String) : []
}

/** The other of the two tensors of an entry. */
function other(byName: ReadonlyMap<string, PlacedTensor>, name: string, from: string, to: string): PlacedTensor {
  const found = byName.get(name.slice(0, -from.length) + to)
  if (found) return found
  const what = `expected each tensor's ${SUMS} and its ${COUNTS}, found no ${to}`
  throw new AprError('APR_BAD_INDEX', what, { tensor: name })
}

async function readEntry(source: ByteSource, sums: PlacedTensor, counts: PlacedTensor): Promise<Entry> {
  for (const { tensor } of [sums, counts]) {
    if (tensor.dtype === 'F32') continue
    throw new AprError('APR_UNSUPPORTED', `expected F32, found ${tensor.dtype}`, { tensor: tensor.name })
  }
  const { name } = sums.tensor
  const size = elementCount(sums.tensor.shape)
  const matrices = elementCount(counts.tensor.shape)
  checkLimit(matrices, MAX_MATRICES, 'counts', name)
  if (size === 0 || size % matrices !== 0) {
    const what = `expected as many values for each of ${matrices} counts, found ${size} values`
    throw new AprError('APR_BAD_INDEX', what, { tensor: name })
  }
  return { position: sums.position, size, counts: await readCounts(source, counts, matrices) }
}

/** Counts are whole numbers, written as f32. */
async function readCounts(source: ByteSource, { tensor, position }: PlacedTensor, size: number): Promise<Float32Array> {
  const counts = new Float32Array(size)
  await source.read(new Uint8Array(counts.buffer), position)
  counts.forEach((value, element) => {
    if (value >= 0 && value < Infinity) counts[element] = Math.round(value)
    else {
      const what = `expected counts of 0 or more that are finite, found ${value}`
      throw new AprError('APR_BAD_VALUE', what, { tensor: tensor.name, element, value })
    }
  })
  return counts
}
