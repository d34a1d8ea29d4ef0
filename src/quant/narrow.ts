/**
 * Floats of one dtype as floats of another, as PyTorch and NumPy convert them: exact when widening, to nearest and ties to
 * even when narrowing. What has 16 bits is looked up in a table of all 65,536.
 */
import { bf16ToF32, f16ToF32, f32ToF16 } from './float.js'
import type { BadValue } from './run.js'

/** Dtypes between which this converts. */
export type PlainFloat = 'F32' | 'F16' | 'BF16'

export const FLOAT_BYTES: Readonly<Record<PlainFloat, number>> = { F32: 4, F16: 2, BF16: 2 }

/** Elements between two looks at what was gathered. */
const CHUNK_WORDS = 4096

/** The exponent's bits, and the lowest of them, in 32 bits: all ones, plus the lowest, reach the sign's place. */
const EXPONENTS: Readonly<Record<PlainFloat, readonly [number, number, number]>> = {
  F32: [0x7f80_0000, 0x0080_0000, 0x8000_0000],
  F16: [0x7c00_7c00, 0x0400_0400, 0x8000_8000],
  BF16: [0x7f80_7f80, 0x0080_0080, 0x8000_8000],
}

/** The first element that is NaN or infinite; undefined where none is. */
export function firstNotFinite(dtype: PlainFloat, bytes: Uint8Array): BadValue | undefined {
  const words = new Uint32Array(...aligned(bytes, 4, bytes.length >> 2))
  const [mask, lowest, signs] = EXPONENTS[dtype]
  let isSuspect = false
  for (let start = 0; start < words.length && !isSuspect; start += CHUNK_WORDS) {
    const end = Math.min(words.length, start + CHUNK_WORDS)
    let gathered = 0
    for (let i = start; i < end; i++) gathered |= ((words[i] ?? 0) & mask) + lowest
    isSuspect = (gathered & signs) !== 0
  }
  // A lone half behind the last word.
  if (!isSuspect && bytes.length % 4 === 0) return undefined
  const values = widened(dtype, bytes)
  const element = values.findIndex((value) => !Number.isFinite(value))
  return element < 0 ? undefined : { element, value: values[element] ?? NaN }
}

/**
 * Converts floats.
 * @param add is added to each, in f32
 * @returns the first element that is finite, and too large for the new dtype; undefined when there is none, and `target` is
 *   filled
 */
export function convertFloats(
  from: PlainFloat,
  to: PlainFloat,
  bytes: Uint8Array,
  target: Uint8Array,
  add = 0,
): BadValue | undefined {
  if (add !== 0) {
    const values = Float32Array.from(widened(from, bytes), (value) => value + add)
    return convertFloats('F32', to, new Uint8Array(values.buffer), target)
  }
  if (from === to) target.set(bytes)
  else if (to === 'F32') target.set(new Uint8Array(widened(from, bytes).buffer))
  else if (from === 'F32') return narrow(to, bytes, target)
  else return lookUp(from, to, bytes, target)
  return undefined
}

function widened(dtype: PlainFloat, bytes: Uint8Array): Float32Array {
  if (dtype === 'F32') return new Float32Array(...aligned(bytes, 4, bytes.length >> 2))
  const halves = new Uint16Array(...aligned(bytes, 2, bytes.length >> 1))
  const values = new Float32Array(halves.length)
  if (dtype === 'F16') {
    const table = f16Table()
    for (let i = 0; i < halves.length; i++) values[i] = table[halves[i] ?? 0] ?? 0
  } else {
    const bits = new Uint32Array(values.buffer)
    for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] ?? 0) << 16
  }
  return values
}

function narrow(to: 'F16' | 'BF16', bytes: Uint8Array, target: Uint8Array): BadValue | undefined {
  const count = bytes.length >> 2
  const values = new Float32Array(...aligned(bytes, 4, count))
  const result = new Uint16Array(count)
  if (to === 'BF16') {
    const bits = new Uint32Array(values.buffer, values.byteOffset, count)
    for (let i = 0; i < count; i++) {
      const pattern = bits[i] ?? 0
      result[i] = (pattern + 0x7fff + ((pattern >>> 16) & 1)) >>> 16
    }
  } else {
    for (let i = 0; i < count; i++) result[i] = f32ToF16(values[i] ?? 0)
  }
  target.set(new Uint8Array(result.buffer))
  return overflow(to, result, (i) => values[i] ?? 0)
}

function lookUp(from: 'F16' | 'BF16', to: 'F16' | 'BF16', bytes: Uint8Array, target: Uint8Array): BadValue | undefined {
  const halves = new Uint16Array(...aligned(bytes, 2, bytes.length >> 1))
  const table = halfTable(from, to)
  const result = new Uint16Array(halves.length)
  for (let i = 0; i < halves.length; i++) result[i] = table[halves[i] ?? 0] ?? 0
  target.set(new Uint8Array(result.buffer))
  const toF32 = from === 'F16' ? f16ToF32 : bf16ToF32
  return overflow(to, result, (i) => toF32(halves[i] ?? 0))
}

/** The first value that has become infinite. */
function overflow(to: 'F16' | 'BF16', result: Uint16Array, valueAt: (i: number) => number): BadValue | undefined {
  const infinity = to === 'F16' ? 0x7c00 : 0x7f80
  const element = result.findIndex((half, i) => (half & 0x7fff) === infinity && Number.isFinite(valueAt(i)))
  return element < 0 ? undefined : { element, value: valueAt(element) }
}

const tables = new Map<string, Uint16Array>()
let halves: Float32Array | undefined

function f16Table(): Float32Array {
  halves ??= Float32Array.from({ length: 0x1_0000 }, (_, half) => f16ToF32(half))
  return halves
}

function halfTable(from: 'F16' | 'BF16', to: 'F16' | 'BF16'): Uint16Array {
  const key = from + to
  let table = tables.get(key)
  if (!table) {
    const all = Uint16Array.from({ length: 0x1_0000 }, (_, half) => half)
    const values = widened(from, new Uint8Array(all.buffer))
    table = new Uint16Array(0x1_0000)
    narrow(to, new Uint8Array(values.buffer), new Uint8Array(table.buffer))
    tables.set(key, table)
  }
  return table
}

/** What a typed array is made of: the same memory where it is aligned, else a copy. */
function aligned(bytes: Uint8Array, unit: number, count: number): [ArrayBuffer, number, number] {
  const { buffer, byteOffset } = byteOffsetIsMultiple(bytes, unit) ? bytes : bytes.slice()
  return [buffer as ArrayBuffer, byteOffset, count]
}

function byteOffsetIsMultiple({ byteOffset }: Uint8Array, unit: number): boolean {
  return byteOffset % unit === 0
}
