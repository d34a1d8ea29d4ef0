/** Key-value pairs that `llama-quantize --override-kv` sets. */
import { kv, type Kv } from '../../formats/formats.js'
import { AprError, printable } from '../../model/errors.js'
import { utf8Bytes } from '../../model/utf8.js'
import { withKvs } from '../kvs.js'
import { toDouble, toLong } from './c-numbers.js'

/** Bytes of a key, and of a text, at the most. */
const MAX_BYTES = 127

/**
 * Reads `KEY=int:VALUE`, `KEY=float:VALUE`, `KEY=bool:VALUE` or `KEY=str:VALUE`.
 * @throws AprError `APR_BAD_OPTION`
 */
export function parseKvOverride(text: string): Kv {
  const [, key = '', type = '', value = ''] = /^([^=]*)=(int|float|bool|str):([^]*)$/.exec(text) ?? []
  if (type === '') throw bad('KEY=TYPE:VALUE with a type of int, float, bool or str', text)
  if (key === '' || utf8Bytes(key) > MAX_BYTES) throw bad(`a key of 1 to ${MAX_BYTES} bytes`, text)
  if (type === 'bool' && value !== 'true' && value !== 'false') throw bad('true or false', text)
  if (type === 'str' && utf8Bytes(value) > MAX_BYTES) throw bad(`a text of at most ${MAX_BYTES} bytes`, text)
  if (type === 'bool') return kv(key, 'bool', value === 'true')
  if (type === 'str') return kv(key, 'string', value)
  if (type === 'float') return kv(key, 'f32', Math.fround(toDouble(value)))
  // llama.cpp reads its settings as u32, so whole numbers are written as such, without their sign.
  const whole = toLong(value)
  return kv(key, 'u32', BigInt.asUintN(32, whole < 0n ? -whole : whole))
}

function bad(expected: string, found: string): AprError {
  return new AprError('APR_BAD_OPTION', `expected ${expected}, found ${printable(found)}`)
}

/**
 * The pairs by which llama-quantize decides: of two overrides of one key it reads the first and writes the last, and it
 * reads none whose type is another than the model's.
 */
export function kvsToDecideBy(kvs: readonly Kv[], overrides: readonly Kv[]): readonly Kv[] {
  const types = new Map(kvs.map((pair) => [pair.key, kindOf(pair)]))
  const read = overrides.filter((pair) => (types.get(pair.key) ?? kindOf(pair)) === kindOf(pair))
  return withKvs(kvs, [...read].reverse())
}

function kindOf({ type }: Kv): string {
  if (/^[ui]\d/.test(type)) return 'whole number'
  return type.startsWith('f') ? 'number' : type
}
