/** Key-value pairs as plain values, and back: what `mapMetadata` sees and gives. */
import { AprError, printable } from '../../model/errors.js'
import { found } from '../../model/found.js'
import type { MetadataEntry } from '../format.js'
import {
  arrayElements,
  arrayHead,
  arrayKv,
  holds,
  kv,
  kvValue,
  typeName,
  type Kv,
  type KvScalar,
  type ScalarType,
} from './kv.js'

/** Types that a new key may get: the first that holds its values. */
const NEW_TYPES = ['string', 'bool', 'u32', 'i32', 'u64', 'i64', 'f32', 'f64'] as const

/** What llama-quantize writes behind all else; of Q4_K alone, which its recipe "small" is named for. */
const QUANTIZATION_VERSION = kv('general.quantization_version', 'u32', 2)
const MOSTLY_Q4_K_S = kv('general.file_type', 'u32', 14)

export function metadataOf(kvs: readonly Kv[]): Record<string, unknown> {
  return Object.fromEntries(kvs.map((pair) => [pair.key, kvValue(pair)]))
}

/** Elements of an array that are shown. */
const SHOWN_ELEMENTS = 8

/** A pair with its type and value, of a long array the first elements. */
export function describeKv(pair: Kv): MetadataEntry {
  const { key } = pair
  const type = typeName(pair)
  if (pair.type !== 'array') return { key, type, value: kvValue(pair) }
  const { count } = arrayHead(pair)
  return {
    key,
    type,
    value: [...arrayElements(pair, SHOWN_ELEMENTS)],
    ...(count > SHOWN_ELEMENTS && { length: count }),
  }
}

/** The pairs of a model that was quantized. */
export function quantizedKvs(kvs: readonly Kv[]): Kv[] {
  const own = [QUANTIZATION_VERSION, MOSTLY_Q4_K_S]
  return [...kvs.filter(({ key }) => !own.some((pair) => pair.key === key)), ...own]
}

/**
 * Sets values by their keys, or removes them where undefined. A key that is there keeps its place and type, and its very
 * bytes where the value is the same; a new one comes last, and gets the first type of `NEW_TYPES` that holds its value.
 * @throws AprError `APR_BAD_METADATA` for a value that the type cannot hold
 */
export function changeKvs(kvs: readonly Kv[], changes: Readonly<Record<string, unknown>>): Kv[] {
  const rest = new Map(Object.entries(changes))
  const changed: Kv[] = []
  for (const pair of kvs) {
    const value = rest.get(pair.key)
    if (!rest.delete(pair.key)) changed.push(pair)
    else if (value !== undefined) changed.push(withValue(pair, value))
  }
  for (const [key, value] of rest) if (value !== undefined) changed.push(newKv(key, value))
  return changed
}

function withValue(pair: Kv, value: unknown): Kv {
  // A text that is not UTF-8 could not be made again of what was shown for it.
  if (isValue(pair, value)) return pair
  const { key, type } = pair
  if (type !== 'array') return kv(key, type, value as KvScalar)
  if (!Array.isArray(value)) throw wrong(key, 'an array', value)
  return arrayKv(key, arrayHead(pair).element, value as KvScalar[])
}

function isValue(pair: Kv, value: unknown): boolean {
  if (pair.type !== 'array') return Object.is(kvValue(pair), value)
  if (!Array.isArray(value) || value.length !== arrayHead(pair).count) return false
  let i = 0
  for (const element of arrayElements(pair)) if (!Object.is(element, value[i++])) return false
  return true
}

function newKv(key: string, value: unknown): Kv {
  if (!Array.isArray(value)) return kv(key, typeFor(key, [value]), value as KvScalar)
  return arrayKv(key, typeFor(key, value), value as KvScalar[])
}

/** The type that holds all of the values; of none, texts. */
function typeFor(key: string, values: readonly unknown[]): ScalarType {
  const type = NEW_TYPES.find((type) => values.every((value) => holds(type, value)))
  if (type) return type
  throw wrong(key, 'a text, true, false, a number, or an array of one kind of these', values[0])
}

function wrong(key: string, expected: string, value: unknown): AprError {
  return new AprError('APR_BAD_METADATA', `expected ${expected} for "${printable(key)}", found ${found(value)}`)
}
