/** What stands before the data: magic, version, counts, key-value pairs and the index of the tensors. */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError, printable } from '../../model/errors.js'
import { tensorBytes, type TensorInfo } from '../../model/tensor.js'
import { Cursor } from './cursor.js'
import { decodeDType } from './dtypes.js'
import { KV_TYPES, kvValue, SCALAR_BYTES, type Kv } from './kv.js'
import { checkSafe, checkTensor, MAX_DIMENSIONS } from './tensor.js'

/** "GGUF", little-endian. */
export const MAGIC = 0x46554747
export const VERSION = 3
/** Bytes of magic, version and the two counts. */
export const COUNTS_BYTES = 24
const DEFAULT_ALIGNMENT = 32
export const ALIGNMENT_KEY = 'general.alignment'

/** ggml's own limits: bytes of a string, elements of an array. */
const MAX_STRING_BYTES = 2 ** 30
const MAX_ARRAY_ELEMENTS = 2 ** 30
/** More than any model has; each takes memory. */
const MAX_TENSORS = 1_000_000
const MAX_KVS = 1_000_000
/** ggml takes any power of two. The padding of a small tensor is that long, and is kept in memory. */
const MAX_ALIGNMENT = 1024 * 1024
/** Fewest bytes of a pair (a key of one byte, a value of one) and of a tensor (no name, no dimensions). */
const MIN_KV_BYTES = 14
const MIN_TENSOR_BYTES = 24

export interface Header {
  readonly version: number
  readonly kvs: readonly Kv[]
  readonly alignment: number
  readonly tensors: readonly IndexedTensor[]
  /** Where the index ends, and where the data start. */
  readonly end: number
  readonly dataStart: number
}

export interface IndexedTensor {
  readonly tensor: TensorInfo
  /** From the start of the data. */
  readonly offset: number
}

/**
 * Reads a file's header.
 * @throws AprError for every rule that it can break
 */
export async function readHeader(source: ByteSource): Promise<Header> {
  const cursor = new Cursor(source)
  const { version, tensorCount, kvCount } = await readCounts(cursor, source.size)
  const kvs = await readKvs(cursor, kvCount)
  const alignment = alignmentOf(kvs)
  const tensors = await readTensors(cursor, tensorCount, alignment)
  const end = cursor.position
  return { version, kvs, alignment, tensors, end, dataStart: align(end, alignment) }
}

export function align(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment
}

async function readCounts(
  cursor: Cursor,
  size: number,
): Promise<{ version: number; tensorCount: number; kvCount: number }> {
  await cursor.fill(Math.min(size, 4), 'a GGUF file')
  const magic = size < 4 ? 0 : cursor.u32()
  if (magic !== MAGIC) {
    throw new AprError('APR_BAD_MAGIC', `expected a GGUF file, which starts with the bytes 47 47 55 46, found others`, {
      offset: 0,
    })
  }
  await cursor.fill(COUNTS_BYTES - 4, 'version and counts')
  const version = cursor.u32()
  if (version !== 2 && version !== VERSION) {
    const what = `expected GGUF version 2 or 3, little-endian, found ${foundVersion(version)}`
    throw new AprError('APR_UNSUPPORTED', what, { offset: 4 })
  }
  const counts = [cursor.i64(), cursor.i64()] as const
  const tensorCount = checkCount(counts[0], 'tensors', MAX_TENSORS, 8)
  const kvCount = checkCount(counts[1], 'key-value pairs', MAX_KVS, 16)
  const least = COUNTS_BYTES + tensorCount * MIN_TENSOR_BYTES + kvCount * MIN_KV_BYTES
  if (least > size) {
    const what = `expected ${tensorCount} tensors and ${kvCount} key-value pairs, which take ${least} bytes at least, found a file of ${size} bytes`
    throw new AprError('APR_TRUNCATED', what, { offset: 8 })
  }
  return { version, tensorCount, kvCount }
}

function foundVersion(version: number): string {
  // The same number with its bytes the other way round.
  if (version !== 0 && (version & 0xffff) === 0) return 'a big-endian file'
  return version === 1
    ? 'version 1, which llama.cpp reads no longer either: convert the model anew'
    : `version ${version}`
}

function checkCount(count: bigint, what: string, most: number, offset: number): number {
  if (count >= 0n && count <= BigInt(most)) return Number(count)
  const code = count < 0n ? 'APR_BAD_HEADER' : 'APR_LIMIT'
  throw new AprError(code, `expected 0 to ${most} ${what}, found ${count}`, { offset })
}

async function readKvs(cursor: Cursor, count: number): Promise<Kv[]> {
  const kvs: Kv[] = []
  const keys = new Set<string>()
  for (let i = 0; i < count; i++) {
    const offset = cursor.position
    const key = await readName(cursor, 'key', 'APR_BAD_METADATA')
    if (key === '') throw bad('a key', 'an empty one', offset)
    if (keys.has(key)) throw bad('every key once', `"${printable(key)}" twice`, offset)
    keys.add(key)
    await cursor.fill(4, 'the type of a value')
    const id = cursor.u32()
    const type = KV_TYPES[id]
    if (type === undefined) throw bad(`a type of 0 to 12 for "${printable(key)}"`, String(id), cursor.position - 4)
    cursor.mark()
    if (type === 'array') await skipArray(cursor, key)
    else if (type === 'string') await skipStrings(cursor, 1)
    else {
      await cursor.fill(SCALAR_BYTES[type], 'a value')
      cursor.skip(SCALAR_BYTES[type])
    }
    kvs.push(Object.freeze({ key, type, data: cursor.marked() }))
  }
  return kvs
}

async function skipArray(cursor: Cursor, key: string): Promise<void> {
  await cursor.fill(12, 'the head of an array')
  const offset = cursor.position
  const id = cursor.u32()
  const count = cursor.u64()
  const element = KV_TYPES[id]
  if (element === undefined || element === 'array') {
    const found = element === 'array' ? 'an array of arrays' : `type ${id}`
    throw bad(`an array of numbers or strings for "${printable(key)}"`, found, offset)
  }
  if (count > MAX_ARRAY_ELEMENTS) {
    throw bad(`at most ${MAX_ARRAY_ELEMENTS} elements for "${printable(key)}"`, String(count), offset + 4)
  }
  const bytes = Number(count) * (element === 'string' ? 8 : SCALAR_BYTES[element])
  if (element === 'string') {
    cursor.checkRest(bytes, 'an array')
    await skipStrings(cursor, Number(count))
    return
  }
  await cursor.fill(bytes, 'an array')
  cursor.skip(bytes)
}

/** A vocabulary is hundreds of thousands of strings: there is a wait only for those that are not read yet. */
async function skipStrings(cursor: Cursor, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    if (!cursor.has(8)) await cursor.fill(8, 'the length of a string')
    const bytes = stringBytes(cursor)
    if (!cursor.has(bytes)) await cursor.fill(bytes, 'a string')
    cursor.skip(bytes)
  }
}

function stringBytes(cursor: Cursor): number {
  const bytes = cursor.u64()
  if (bytes <= MAX_STRING_BYTES) return Number(bytes)
  throw bad(`a string of at most ${MAX_STRING_BYTES} bytes`, String(bytes), cursor.position - 8)
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A name must be UTF-8: what is written elsewhere must be the same name. */
async function readName(cursor: Cursor, what: string, code: 'APR_BAD_METADATA' | 'APR_BAD_INDEX'): Promise<string> {
  if (!cursor.has(8)) await cursor.fill(8, `the length of a ${what}`)
  const bytes = stringBytes(cursor)
  if (!cursor.has(bytes)) await cursor.fill(bytes, `a ${what}`)
  const offset = cursor.position
  try {
    return UTF8.decode(cursor.take(bytes))
  } catch {
    throw new AprError(code, `expected a ${what} in UTF-8, found other bytes`, { offset })
  }
}

function bad(expected: string, found: string, offset: number): AprError {
  return new AprError('APR_BAD_METADATA', `expected ${expected}, found ${found}`, { offset })
}

/**
 * What the data are aligned to, in bytes.
 * @throws AprError `APR_BAD_METADATA`
 */
export function alignmentOf(kvs: readonly Kv[]): number {
  const pair = kvs.find(({ key }) => key === ALIGNMENT_KEY)
  if (pair === undefined) return DEFAULT_ALIGNMENT
  const value = pair.type === 'u32' ? Number(kvValue(pair)) : 0
  if (value > MAX_ALIGNMENT) {
    throw new AprError('APR_LIMIT', `expected ${ALIGNMENT_KEY} of at most ${MAX_ALIGNMENT} bytes, found ${value}`)
  }
  if (value > 0 && Number.isInteger(Math.log2(value))) return value
  const found = pair.type === 'u32' ? value : `a ${pair.type}`
  throw new AprError('APR_BAD_METADATA', `expected ${ALIGNMENT_KEY} to be a u32 and a power of two, found ${found}`)
}

async function readTensors(cursor: Cursor, count: number, alignment: number): Promise<IndexedTensor[]> {
  const tensors: IndexedTensor[] = []
  const names = new Set<string>()
  let next = 0
  for (let i = 0; i < count; i++) {
    const position = cursor.position
    const name = await readName(cursor, 'tensor name', 'APR_BAD_INDEX')
    try {
      if (names.has(name)) throw new AprError('APR_BAD_INDEX', 'expected every tensor name once, found one twice')
      names.add(name)
      const tensor = await readTensor(cursor, name)
      const offset = cursor.u64()
      if (offset !== BigInt(next)) {
        const what = `expected its data at ${next}, right behind the tensor before, found ${offset}`
        throw new AprError('APR_BAD_INDEX', what)
      }
      tensors.push({ tensor, offset: next })
      next += align(tensor.size, alignment)
      checkSafe(next, name)
    } catch (error) {
      throw error instanceof AprError ? error.at({ tensor: name, offset: position }) : error
    }
  }
  return tensors
}

async function readTensor(cursor: Cursor, name: string): Promise<TensorInfo> {
  await cursor.fill(4, 'a number of dimensions')
  const dimensions = cursor.u32()
  if (dimensions > MAX_DIMENSIONS) {
    throw new AprError('APR_BAD_INDEX', `expected at most ${MAX_DIMENSIONS} dimensions, found ${dimensions}`)
  }
  await cursor.fill(dimensions * 8 + 12, 'a tensor')
  const sizes = Array.from({ length: dimensions }, () => cursor.i64())
  const found = sizes.find((size) => size < 0n || size > BigInt(Number.MAX_SAFE_INTEGER))
  if (found !== undefined) {
    throw new AprError('APR_BAD_INDEX', `expected dimensions of 0 or more and less than 2^53, found ${found}`)
  }
  // The file has the fastest first.
  const shape = Object.freeze(sizes.map(Number).reverse())
  const dtype = decodeDType(cursor.u32(), name)
  const tensor = Object.freeze({ name, dtype, shape, size: tensorBytes(dtype, shape) })
  checkTensor(tensor)
  return tensor
}
