/** What the refined fits share: values and weights that no sum overflows with, and scales of half precision. */
import { f16ToF32, f32ToF16 } from '../../float.js'
import { round } from '../round.js'

const { fround } = Math

/** Elements of a super-block. */
export const ELEMENTS = 256
/** Values beyond it count as this: it is far above what any scale of half precision reaches. */
const MOST = 2 ** 40
/** Ranges and magnitudes below it count as 0: no scale of half precision reaches down there. */
export const LEAST = 2 ** -40
/** The greatest half, and the least normal one. */
const MOST_HALF = 0x7bff
const NORMAL_HALF = 0x0400

/** What a gain must exceed the best one by: less is rounding. */
export const NOTABLY = 1 + 2 ** -20

const bits = new Uint32Array(1)
const asFloat = new Float32Array(bits.buffer)

/** Copies the values of a super-block. */
export function bound(x: Float32Array, target: Float32Array): void {
  x.forEach((v, i) => (target[i] = Math.max(-MOST, Math.min(MOST, v))))
}

/** Weights of values: their importance, times the power of two that brings the greatest to at least 0.5; 1 without importance. */
export function weigh(importance: Float32Array | undefined, weights: Float32Array): void {
  if (!importance) {
    weights.fill(1)
    return
  }
  asFloat[0] = importance.reduce((most, u) => (u > most ? u : most), 0)
  const exponent = (bits[0] ?? 0) >>> 23
  bits[0] = Math.max(1, 253 - exponent) << 23
  const factor = asFloat[0]
  importance.forEach((u, i) => (weights[i] = u * factor))
}

/** `round(v)`, ties to even, no less than `least` and no more than `most`. */
export function code(v: number, least: number, most: number): number {
  return round(Math.max(least, Math.min(most, v)))
}

/** The half nearest to a scale, as a number; where it would be infinite the greatest one. */
export function nearestHalf(scale: number): number {
  return halfOf(f32ToF16(fround(scale)))
}

/** The same, but below the normal halves, which get sparse there, the next one above: codes can make up for it. */
export function halfAbove(scale: number): number {
  const pattern = f32ToF16(scale)
  const isBelow = (pattern & 0x7fff) < NORMAL_HALF && Math.abs(f16ToF32(pattern)) < Math.abs(scale)
  return halfOf(isBelow ? pattern + 1 : pattern)
}

function halfOf(pattern: number): number {
  return f16ToF32((pattern & 0x7fff) > MOST_HALF ? (pattern & 0x8000) | MOST_HALF : pattern)
}
