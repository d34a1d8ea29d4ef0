/** Key-value pairs as plain values, and back: what `mapMetadata` sees and gives. */
import { AprError, printable } from '../../model/errors.js'
import { found } from '../../model/found.js'
import { arrayHead, arrayKv, kv, kvValue, type Kv, type KvScalar, type KvType, type ScalarType } from './kv.js'

const RANGES: Partial<Record<KvType, readonly [bigint, bigint]>> = {
  ...{ u8: [0n, 0xffn], u16: [0n, 0xffffn], u32: [0n, 0xffff_ffffn], u64: [0n, 2n ** 64n - 1n] },
  ...{
    i8: [-0x80n, 0x7fn],
    i16: [-0x8000n, 0x7fffn],
    i32: [-(2n ** 31n), 2n ** 31n - 1n],
    i64: [-(2n ** 63n), 2n ** 63n - 1n],
  },
}

export function metadataOf(kvs: readonly Kv[]): Record<string, unknown> {
  return Object.fromEntries(kvs.map((pair) => [pair.key, kvValue(pair)]))
}

/**
 * Sets values by their keys, or removes them where undefined. A key that is there keeps its place and type; a new one
 * comes last, and gets the type that its value has: string, bool, u32 or i32 where it fits, else u64 or i64, f32.
 * @throws AprError `APR_BAD_METADATA` for a value that the type cannot hold
 */
export function changeKvs(kvs: readonly Kv[], changes: Readonly<Record<string, unknown>>): Kv[] {
  const rest = new Map(Object.entries(changes))
  const changed: Kv[] = []
  for (const pair of kvs) {
    if (!rest.has(pair.key)) {
      changed.push(pair)
      continue
    }
    const value = rest.get(pair.key)
    rest.delete(pair.key)
    if (value !== undefined) changed.push(withValue(pair, value))
  }
  for (const [key, value] of rest) if (value !== undefined) changed.push(makeKv(key, value))
  return changed
}

function withValue(pair: Kv, value: unknown): Kv {
  const { key, type } = pair
  if (type !== 'array') return kv(key, type, checked(key, type, value))
  if (!Array.isArray(value)) throw wrong(key, 'an array', value)
  const { element } = arrayHead(pair)
  return arrayKv(
    key,
    element,
    value.map((one) => checked(key, element, one)),
  )
}

function makeKv(key: string, value: unknown): Kv {
  if (key === '') throw new AprError('APR_BAD_METADATA', 'expected a key, found an empty one')
  if (!Array.isArray(value)) {
    const type = typeFor(key, [value])
    return kv(key, type, checked(key, type, value))
  }
  const element = value.length === 0 ? 'string' : typeFor(key, value)
  return arrayKv(
    key,
    element,
    value.map((one) => checked(key, element, one)),
  )
}

/** The type that holds all of the values. */
function typeFor(key: string, values: readonly unknown[]): ScalarType {
  const is = (type: ScalarType): boolean => values.every((value) => holds(type, value))
  const type = (['string', 'bool', 'u32', 'i32', 'u64', 'i64', 'f32'] as const).find(is)
  if (type) return type
  throw wrong(key, 'a text, true, false, a number, or an array of one kind of these', values[0])
}

function holds(type: ScalarType, value: unknown): boolean {
  if (type === 'string') return typeof value === 'string'
  if (type === 'bool') return typeof value === 'boolean'
  if (type === 'f32' || type === 'f64') return typeof value === 'number'
  const range = RANGES[type]
  const isWhole = typeof value === 'bigint' || Number.isSafeInteger(value)
  return isWhole && range !== undefined && BigInt(value as number) >= range[0] && BigInt(value as number) <= range[1]
}

function checked(key: string, type: ScalarType, value: unknown): KvScalar {
  if (holds(type, value)) return value as KvScalar
  throw wrong(key, `a value of the type ${type}`, value)
}

function wrong(key: string, expected: string, value: unknown): AprError {
  return new AprError('APR_BAD_METADATA', `expected ${expected} for "${printable(key)}", found ${found(value)}`)
}
