/**
 * KVs of GGUF in the metadata of APR, under the key and in the form in which aprender has them: by name `{ t, v }`, a
 * type and a value, or where they stand already. What JSON cannot hold to the bit stands there as the bytes of the file.
 */
import { AprError, printable } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import {
  arrayHead,
  ARRAY_HEAD_BYTES,
  arrayKv,
  KV_TYPES,
  kv,
  kvValue,
  SCALAR_BYTES,
  STRING_HEAD_BYTES,
  type Kv,
  type KvScalar,
  type KvValue,
  type ScalarType,
} from '../../formats/formats.js'
import { fromBase64, toBase64 } from './base64.js'

/** Key of the metadata. */
export const KVS_KEY = 'gguf.kv'

/** Arrays that have a key of their own in the metadata, where programs look for a tokenizer. */
export const TOKENIZER_ARRAYS: Readonly<Record<string, { readonly key: string; readonly element: ScalarType }>> = {
  'tokenizer.ggml.tokens': { key: 'tokenizer.vocabulary', element: 'string' },
  'tokenizer.ggml.merges': { key: 'tokenizer.merges', element: 'string' },
  'tokenizer.ggml.scores': { key: 'tokenizer.scores', element: 'f32' },
  'tokenizer.ggml.token_type': { key: 'tokenizer.token_type', element: 'i32' },
}

/** Behind this prefix a tag is the type of an array's elements. */
const ARRAY = 'arr_'

/**
 * The entry of a pair.
 * @param values the pair's value, decoded
 */
export function kvEntry(pair: Kv, values: KvValue = kvValue(pair)): unknown {
  const { key, type, data } = pair
  const element = type === 'array' ? arrayHead(pair).element : type
  const scalars = (Array.isArray(values) ? values : [values]) as readonly KvScalar[]
  const held = scalars.every(isHeldByJson) && isSame(data, encode(key, type === 'array', element, scalars).data)
  if (!held) return { t: 'raw', type, v: toBase64(data) }
  const known = TOKENIZER_ARRAYS[key]
  if (known && type === 'array' && element === known.element) {
    return { t: 'custom', custom: known.key, len: scalars.length }
  }
  const plain = scalars.map((value) => (typeof value === 'bigint' ? Number(value) : value))
  const tag = element === 'string' ? 'str' : element
  return type === 'array' ? { t: ARRAY + tag, v: plain } : { t: tag, v: plain[0] }
}

/**
 * The pair of an entry.
 * @param metadata looks up a key of the metadata
 * @throws AprError `APR_BAD_METADATA` for an entry that is none
 */
export function kvOfEntry(key: string, entry: unknown, metadata: (key: string) => unknown): Kv {
  const { t: tag, v: value, custom, len, type } = isFields(entry) ? entry : {}
  if (tag === 'raw' && isType(type) && typeof value === 'string') {
    const data = fromBase64(value)
    if (data && isWhole(type, data)) return { key, type, data }
  }
  const known = TOKENIZER_ARRAYS[key]
  const values = tag === 'custom' && known && custom === known.key ? metadata(known.key) : value
  const isArray = tag === 'custom' || (typeof tag === 'string' && tag.startsWith(ARRAY))
  const name = tag === 'custom' ? known?.element : String(tag).replace(ARRAY, '')
  const element = name === 'str' ? 'string' : name
  const scalars: unknown = isArray ? values : [values]
  const isList = Array.isArray(scalars) && (len === undefined || len === scalars.length)
  if (!isType(element) || element === 'array' || !isList || !scalars.every((one) => fits(element, one))) {
    const what = `expected a value with its type as "${printable(key)}" in ${KVS_KEY}, found another`
    throw new AprError('APR_BAD_METADATA', what)
  }
  return encode(key, isArray, element, scalars as KvScalar[])
}

function encode(key: string, isArray: boolean, element: ScalarType | 'array', values: readonly KvScalar[]): Kv {
  const type = element as ScalarType
  return isArray ? arrayKv(key, type, values) : kv(key, type, values[0] ?? 0)
}

function isType(value: unknown): value is Kv['type'] {
  return KV_TYPES.includes(value as Kv['type'])
}

function fits(type: ScalarType, value: unknown): boolean {
  if (type === 'string') return typeof value === 'string'
  if (type === 'bool') return typeof value === 'boolean'
  return typeof value === 'number' && (type.startsWith('f') || Number.isInteger(value))
}

function isHeldByJson(value: KvScalar): boolean {
  const number = typeof value === 'bigint' ? Number(value) : value
  if (typeof number !== 'number') return true
  return (
    Number.isFinite(number) && !Object.is(number, -0) && (typeof value !== 'bigint' || Number.isSafeInteger(number))
  )
}

/** Whether bytes are one value of a type, and no more. */
function isWhole(type: Kv['type'], data: Uint8Array): boolean {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const isArray = type === 'array'
  if (isArray && data.length < ARRAY_HEAD_BYTES) return false
  const { element, count } = isArray ? arrayHead({ key: '', type, data }) : { element: type, count: 1 }
  const start = isArray ? ARRAY_HEAD_BYTES : 0
  if (element !== 'string') return isScalar(element) && data.length === start + count * SCALAR_BYTES[element]
  let at = start
  for (let i = 0; i < count; i++) {
    if (at + STRING_HEAD_BYTES > data.length) return false
    at += STRING_HEAD_BYTES + Number(view.getBigUint64(at, true))
  }
  return at === data.length
}

function isScalar(type: unknown): type is keyof typeof SCALAR_BYTES {
  return typeof type === 'string' && Object.hasOwn(SCALAR_BYTES, type)
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
