/**
 * A key and its typed value. The value is kept as the bytes that stand in the file: a vocabulary is megabytes, and most
 * ways through this package only carry it.
 */

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

/** Makes a pair. Values must be of the type: a number out of its range is wrapped or rounded. */
export function kv(key: string, type: ScalarType, value: KvScalar): Kv {
  return { key, type, data: encode(type, [value], 0) }
}

/** Makes a pair whose value is an array. */
export function arrayKv(key: string, element: ScalarType, values: readonly KvScalar[]): Kv {
  const data = encode(element, values, ARRAY_HEAD_BYTES)
  const view = new DataView(data.buffer)
  view.setUint32(0, KV_TYPES.indexOf(element), true)
  view.setBigUint64(4, BigInt(values.length), true)
  return { key, type: 'array', data }
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
