/**
 * A key and its typed value. The value is kept as the bytes that stand in the file: a vocabulary is megabytes, and most
 * ways through this package only carry it.
 */
import { AprError, printable } from '../../model/errors.js'
import { found } from '../../model/found.js'
import { isWellFormed } from '../../model/utf8.js'

/** Types of a value, each at the index that is its id in the file. */
// prettier-ignore
export const KV_TYPES = [
  'u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'f32', 'bool', 'string', 'array', 'u64', 'i64', 'f64',
] as const

export type KvType = (typeof KV_TYPES)[number]

/** Types of a value, and of the elements of an array. */
export type ScalarType = Exclude<KvType, 'array'>

export interface Kv {
  readonly key: string
  readonly type: KvType
  /**
   * The value as it stands in the file, behind its type: little-endian, a string as u64 length and UTF-8 bytes, an
   * array as u32 element type, u64 count and elements.
   */
  readonly data: Uint8Array
}

/** A value in JavaScript: u64 and i64 are bigint. */
export type KvScalar = number | bigint | boolean | string
export type KvValue = KvScalar | readonly KvScalar[]

/** Bytes of a scalar of each type; a string's follow its length. */
export const SCALAR_BYTES: Readonly<Record<Exclude<ScalarType, 'string'>, number>> = {
  ...{ u8: 1, i8: 1, bool: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, u64: 8, i64: 8, f64: 8 },
}

/** Bytes before a string, its length, and before the elements of an array, their type and number. */
export const STRING_HEAD_BYTES = 8
export const ARRAY_HEAD_BYTES = 12

/** Least and greatest value of the integer types. */
const RANGES: Readonly<Partial<Record<ScalarType, readonly [bigint, bigint]>>> = {
  ...{ u8: [0n, 0xffn], u16: [0n, 0xffffn], u32: [0n, 0xffff_ffffn], u64: [0n, 2n ** 64n - 1n] },
  ...{ i8: [-0x80n, 0x7fn], i16: [-0x8000n, 0x7fffn] },
  ...{ i32: [-(2n ** 31n), 2n ** 31n - 1n], i64: [-(2n ** 63n), 2n ** 63n - 1n] },
}

/** Whether a type can hold a value: f32 and f64 any number, rounded, but none that would become infinite. */
export function holds(type: ScalarType, value: unknown): value is KvScalar {
  if (type === 'string') return typeof value === 'string' && isWellFormed(value)
  if (type === 'bool') return typeof value === 'boolean'
  if (type === 'f64') return typeof value === 'number'
  if (type === 'f32') return typeof value === 'number' && Number.isFinite(value) === Number.isFinite(Math.fround(value))
  if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) return false
  const range = RANGES[type]
  return range !== undefined && range[0] <= (value as number) && (value as number) <= range[1]
}

/**
 * Makes a pair.
 * @throws AprError `APR_BAD_METADATA` for a value that is not of the type, and an empty key
 */
export function kv(key: string, type: ScalarType, value: KvScalar): Kv {
  checkValues(key, type, [value])
  return { key, type, data: encode(type, [value], 0) }
}

/**
 * Makes a pair whose value is an array.
 * @throws AprError `APR_BAD_METADATA` for a value that is not of the type, and an empty key
 */
export function arrayKv(key: string, element: ScalarType, values: readonly KvScalar[]): Kv {
  checkValues(key, element, values)
  const data = encode(element, values, ARRAY_HEAD_BYTES)
  const view = new DataView(data.buffer)
  view.setUint32(0, KV_TYPES.indexOf(element), true)
  view.setBigUint64(4, BigInt(values.length), true)
  return { key, type: 'array', data }
}

/**
 * Makes a pair whose value is an array of texts that are there as bytes.
 * @param texts how many, and their bytes in UTF-8 all together
 * @param fill writes each into the data, from where `begin` says, which it calls once a text with its bytes
 */
export function textsKv(
  key: string,
  { count, size }: { readonly count: number; readonly size: number },
  fill: (data: Uint8Array, begin: (length: number) => number) => void,
): Kv {
  const data = new Uint8Array(ARRAY_HEAD_BYTES + count * STRING_HEAD_BYTES + size)
  const view = new DataView(data.buffer)
  view.setUint32(0, KV_TYPES.indexOf('string'), true)
  view.setBigUint64(4, BigInt(count), true)
  let end = ARRAY_HEAD_BYTES
  fill(data, (length) => {
    view.setUint32(end, length, true)
    const start = end + STRING_HEAD_BYTES
    end = start + length
    return start
  })
  return { key, type: 'array', data }
}

function checkValues(key: string, type: ScalarType, values: readonly unknown[]): void {
  if (key === '' || !isWellFormed(key)) {
    throw new AprError('APR_BAD_METADATA', `expected a key of whole characters, found ${found(key)}`)
  }
  // Not `find`: the value may be undefined.
  const index = values.findIndex((value) => !holds(type, value))
  if (index < 0) return
  const what = `expected a value of the type ${type} for "${printable(key)}", found ${found(values[index])}`
  throw new AprError('APR_BAD_METADATA', what)
}

function encode(type: ScalarType, values: readonly KvScalar[], head: number): Uint8Array {
  const encoder = new TextEncoder()
  if (type !== 'string') {
    const bytes = SCALAR_BYTES[type]
    const data = new Uint8Array(head + values.length * bytes)
    const view = new DataView(data.buffer)
    values.forEach((value, i) => setScalar(view, head + i * bytes, type, value))
    return data
  }
  // As large as UTF-8 can be, then cut: no text is encoded twice.
  const room = values.reduce<number>((sum, text) => sum + STRING_HEAD_BYTES + 3 * String(text).length, head)
  const data = new Uint8Array(room)
  const view = new DataView(data.buffer)
  let end = head
  for (const text of values) {
    const { written } = encoder.encodeInto(String(text), data.subarray(end + STRING_HEAD_BYTES))
    view.setBigUint64(end, BigInt(written), true)
    end += STRING_HEAD_BYTES + written
  }
  return data.slice(0, end)
}

function setScalar(view: DataView, at: number, type: Exclude<ScalarType, 'string'>, value: KvScalar): void {
  if (type === 'u64') view.setBigUint64(at, BigInt(value), true)
  else if (type === 'i64') view.setBigInt64(at, BigInt(value), true)
  else if (type === 'f32') view.setFloat32(at, Number(value), true)
  else if (type === 'f64') view.setFloat64(at, Number(value), true)
  else if (SCALAR_BYTES[type] === 1) view.setUint8(at, Number(value))
  else if (SCALAR_BYTES[type] === 2) view.setUint16(at, Number(value), true)
  else view.setUint32(at, Number(value), true)
}

/** Type of the elements of an array, and how many there are. */
export function arrayHead({ data }: Kv): { element: ScalarType; count: number } {
  const view = viewOf(data)
  const element = KV_TYPES[view.getUint32(0, true)] as ScalarType
  return { element, count: Number(view.getBigUint64(4, true)) }
}

/** The type as people write it: `u32`, `string[]`. */
export function typeName(pair: Kv): string {
  return pair.type === 'array' ? `${arrayHead(pair).element}[]` : pair.type
}

/** The value, decoded: of a long array that is long. Bytes of a string that are not UTF-8 become U+FFFD. */
export function kvValue(pair: Kv): KvValue {
  const { type, data } = pair
  if (type !== 'array') return [...decode(type, data, 0, 1)][0] ?? 0
  const { element, count } = arrayHead(pair)
  return [...decode(element, data, ARRAY_HEAD_BYTES, count)]
}

/** The first `limit` elements of an array, one after the other. */
export function* arrayElements(pair: Kv, limit = Infinity): Generator<KvScalar> {
  const { element, count } = arrayHead(pair)
  yield* decode(element, pair.data, ARRAY_HEAD_BYTES, Math.min(count, limit))
}

function* decode(type: ScalarType, data: Uint8Array, start: number, count: number): Generator<KvScalar> {
  const view = viewOf(data)
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let at = start
  for (let i = 0; i < count; i++) {
    if (type === 'string') {
      const from = at + STRING_HEAD_BYTES
      at = from + Number(view.getBigUint64(at, true))
      yield decoder.decode(data.subarray(from, at))
    } else {
      yield scalarAt(view, at, type)
      at += SCALAR_BYTES[type]
    }
  }
}

function scalarAt(view: DataView, at: number, type: Exclude<ScalarType, 'string'>): KvScalar {
  switch (type) {
    case 'u8':
      return view.getUint8(at)
    case 'i8':
      return view.getInt8(at)
    case 'u16':
      return view.getUint16(at, true)
    case 'i16':
      return view.getInt16(at, true)
    case 'u32':
      return view.getUint32(at, true)
    case 'i32':
      return view.getInt32(at, true)
    case 'f32':
      return view.getFloat32(at, true)
    case 'f64':
      return view.getFloat64(at, true)
    case 'u64':
      return view.getBigUint64(at, true)
    case 'i64':
      return view.getBigInt64(at, true)
    case 'bool':
      return view.getUint8(at) !== 0
  }
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength)
}

/** The pair of a key; undefined when there is none. */
export function findKv(kvs: readonly Kv[], key: string): Kv | undefined {
  return kvs.find((pair) => pair.key === key)
}
