/** What stands before the data: magic, version, counts, key-value pairs and the index of the tensors. */
import type { ByteSource } from '../../model/byte-source.js'
import { DTYPES } from '../../model/dtypes.js'
import { AprError, printable } from '../../model/errors.js'
import { elementCount, tensorBytes, type TensorInfo } from '../../model/tensor.js'
import { Cursor } from './cursor.js'
import { decodeDType } from './dtypes.js'
import { KV_TYPES, kvValue, SCALAR_BYTES, type Kv } from './kv.js'

/** "GGUF", little-endian. */
export const MAGIC = 0x46554747
export const VERSION = 3
/** Bytes of magic, version and the two counts. */
export const COUNTS_BYTES = 24
const DEFAULT_ALIGNMENT = 32
const ALIGNMENT_KEY = 'general.alignment'

/** ggml's own limits: bytes of a string, elements of an array, bytes of a tensor's name, dimensions. */
const MAX_STRING_BYTES = 2 ** 30
const MAX_ARRAY_ELEMENTS = 2 ** 30
const MAX_NAME_BYTES = 63
const MAX_DIMENSIONS = 4
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
    const isBigEndian = (version & 0xffff) === 0 && version !== 0
    const found = isBigEndian ? 'a big-endian file' : `version ${version}`
    throw new AprError('APR_UNSUPPORTED', `expected GGUF version 2 or 3, little-endian, found ${found}`, { offset: 4 })
  }
  const tensorCount = countOf(cursor.i64(), 'tensors', MIN_TENSOR_BYTES, size, 8)
  const kvCount = countOf(cursor.i64(), 'key-value pairs', MIN_KV_BYTES, size, 16)
  return { version, tensorCount, kvCount }
}

function countOf(count: bigint, what: string, minBytes: number, size: number, offset: number): number {
  if (count >= 0n && count * BigInt(minBytes) <= BigInt(size)) return Number(count)
  const room = Math.floor(size / minBytes)
  throw new AprError('APR_BAD_HEADER', `expected 0 to ${room} ${what} in a file of ${size} bytes, found ${count}`, {
    offset,
  })
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
    else if (type === 'string') await skipString(cursor)
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
  const bytes = element === 'string' ? 8 : SCALAR_BYTES[element]
  if (count > MAX_ARRAY_ELEMENTS || Number(count) * bytes > cursor.rest) {
    throw bad(`an array that ends inside the file for "${printable(key)}"`, `${count} elements`, offset)
  }
  if (element !== 'string') {
    await cursor.fill(Number(count) * bytes, 'an array')
    cursor.skip(Number(count) * bytes)
    return
  }
  for (let i = 0; i < count; i++) await skipString(cursor)
}

async function skipString(cursor: Cursor): Promise<void> {
  if (!cursor.has(8)) await cursor.fill(8, 'a string')
  const bytes = stringBytes(cursor, cursor.u64())
  if (!cursor.has(bytes)) await cursor.fill(bytes, 'a string')
  cursor.skip(bytes)
}

function stringBytes(cursor: Cursor, bytes: bigint): number {
  if (bytes <= MAX_STRING_BYTES && Number(bytes) <= cursor.rest) return Number(bytes)
  throw bad('a string that ends inside the file', `one of ${bytes} bytes`, cursor.position - 8)
}

/** A name must be UTF-8: what is written elsewhere must be the same name. */
async function readName(cursor: Cursor, what: string, code: 'APR_BAD_METADATA' | 'APR_BAD_INDEX'): Promise<string> {
  await cursor.fill(8, `the length of a ${what}`)
  const bytes = stringBytes(cursor, cursor.u64())
  await cursor.fill(bytes, `a ${what}`)
  const offset = cursor.position
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(cursor.take(bytes))
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
  if (found !== undefined) throw new AprError('APR_BAD_INDEX', `expected a dimension of 0 or more, found ${found}`)
  // The file has the fastest first.
  const shape = Object.freeze(sizes.map(Number).reverse())
  const dtype = decodeDType(cursor.u32(), name)
  const tensor = Object.freeze({ name, dtype, shape, size: tensorBytes(dtype, shape) })
  checkTensor(tensor)
  return tensor
}

function checkSafe(bytes: number, tensor: string): void {
  if (Number.isSafeInteger(bytes)) return
  throw new AprError('APR_LIMIT', 'expected sizes of less than 2^53 bytes, found more', { tensor })
}

/** @throws AprError for a tensor that the format cannot hold */
export function checkTensor({ name, dtype, shape, size }: TensorInfo): void {
  const place = { tensor: name }
  const nameBytes = new TextEncoder().encode(name).length
  if (nameBytes > MAX_NAME_BYTES) {
    const what = `expected a name of at most ${MAX_NAME_BYTES} bytes, found ${nameBytes}`
    throw new AprError('APR_LIMIT', what, place)
  }
  if (shape.length > MAX_DIMENSIONS) {
    const what = `expected at most ${MAX_DIMENSIONS} dimensions, found ${shape.length}`
    throw new AprError('APR_LIMIT', what, place)
  }
  // Exact, where a product that has wrapped would look small.
  if (!Number.isSafeInteger(elementCount(shape))) {
    throw new AprError('APR_LIMIT', `expected less than 2^53 elements, found [${shape.join(', ')}]`, place)
  }
  const { blockElements } = DTYPES[dtype]
  const row = shape.at(-1) ?? 1
  if (row % blockElements !== 0) {
    const what = `expected rows of whole blocks of ${blockElements} elements of ${dtype}, found rows of ${row}`
    throw new AprError('APR_BAD_INDEX', what, place)
  }
  if (size !== tensorBytes(dtype, shape)) {
    const what = `expected ${tensorBytes(dtype, shape)} bytes of ${dtype} [${shape.join(', ')}], found ${size}`
    throw new AprError('APR_BAD_RECORD', what, place)
  }
  checkSafe(size, name)
}
