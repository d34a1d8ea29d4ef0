/** Numbers in every format that the library reads, made without the library: what its conversions are held against. */
import type { Run } from '../../dist/quant/runs/run.js'
import { randomBits } from './random.js'

const ELEMENT_BYTES = { F32: 4, F16: 2, BF16: 2, F64: 8, APR_Q8: 1, APR_Q4: 18 / 32 }

/** A run of all that `data` holds, without rows. */
export function flat(dtype: keyof typeof ELEMENT_BYTES, data: Buffer): Run {
  const elements = data.length / ELEMENT_BYTES[dtype]
  return { dtype, data, elements, rowElements: elements }
}

/** Bytes of each dtype, and the F32 values that they stand for, made without the library. */
export const SOURCES: Readonly<Record<string, (elements: number) => { run: Run; values: Float32Array }>> = {
  F16(elements) {
    const halves = halfValues()
    const next = randomBits(2)
    const patterns = Uint16Array.from({ length: elements }, () => (next() & 0x8000) | (next() % 0x7c00))
    const values = Float32Array.from(patterns, (pattern) => halfValue(halves, pattern))
    return { run: flat('F16', Buffer.from(patterns.buffer)), values }
  },
  BF16(elements) {
    const next = randomBits(3)
    const patterns = Uint16Array.from({ length: elements }, () => (next() & 0x8000) | (next() % 0x7f00))
    return { run: flat('BF16', Buffer.from(patterns.buffer)), values: Float32Array.from(patterns, bfloatValue) }
  },
  F64(elements) {
    const next = randomBits(4)
    const doubles = Float64Array.from({ length: elements }, () => (next() / 2 ** 32 - 0.5) * 2 ** ((next() % 40) - 20))
    // Ties between two F32, to the even one; the largest that does not round to infinity.
    doubles.set([1 + 2 ** -24, 1 + 3 * 2 ** -24, -0, 2 ** -149, 2 ** -150, 2 ** 127 * (2 - 2 ** -23)])
    return { run: flat('F64', Buffer.from(doubles.buffer)), values: Float32Array.from(doubles) }
  },
  APR_Q8(elements) {
    const next = randomBits(5)
    const levels = Int8Array.from({ length: elements }, () => next())
    const scale = Math.fround(0.0123)
    const values = Float32Array.from(levels, (level) => level * scale)
    return { run: { ...flat('APR_Q8', Buffer.from(levels.buffer)), scale }, values }
  },
  APR_Q4(elements) {
    const halves = halfValues()
    const next = randomBits(6)
    const bytes = Buffer.alloc((elements / 32) * 18)
    const values = new Float32Array(elements)
    for (let block = 0; block < elements / 32; block++) {
      const scale = next() % 0x7c00
      bytes.writeUInt16LE(scale, block * 18)
      for (let pair = 0; pair < 16; pair++) {
        const low = next() & 15
        const high = next() & 15
        bytes[block * 18 + 2 + pair] = low | (high << 4)
        values[block * 32 + 2 * pair] = (low - 8) * halfValue(halves, scale)
        values[block * 32 + 2 * pair + 1] = (high - 8) * halfValue(halves, scale)
      }
    }
    return { run: flat('APR_Q4', bytes), values }
  },
}

/**
 * Values of the positive half-precision patterns 0 to 0x7c00, by counting: the step from one to the next is 2^-24 and
 * doubles with every exponent above the first. The last one, infinity, stands here as the 2^16 that it rounds from.
 */
export function halfValues(): Float64Array {
  const values = new Float64Array(0x7c01)
  for (let pattern = 0; pattern < 0x7c00; pattern++) {
    values[pattern + 1] = (values[pattern] ?? 0) + 2 ** (Math.max(0, (pattern >> 10) - 1) - 24)
  }
  return values
}

export function halfValue(values: Float64Array, pattern: number): number {
  const magnitude = pattern & 0x7fff
  if (magnitude > 0x7c00) return NaN
  const value = magnitude === 0x7c00 ? Infinity : (values[magnitude] ?? 0)
  return pattern & 0x8000 ? -value : value
}

/** The nearest half by search: the two that enclose the value, the middle between them, and which of them is even. */
export function nearestHalf(values: Float64Array, value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  let low = 0
  let high = 0x7c00
  if (magnitude >= (values[high] ?? 0)) return sign | 0x7c00
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if ((values[middle] ?? 0) <= magnitude) low = middle
    else high = middle
  }
  const middle = ((values[low] ?? 0) + (values[high] ?? 0)) / 2
  const isUp = magnitude > middle || (magnitude === middle && low % 2 === 1)
  return sign | (isUp ? high : low)
}

export function bfloatValue(pattern: number): number {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt16LE(pattern, 2)
  return bytes.readFloatLE(0)
}
