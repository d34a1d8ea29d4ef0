/**
 * A scale for values around 0, tried at 19 places: what llama.cpp's `make_qx_quants` finds, by weighted least squares.
 * Every operation is one IEEE single-precision operation, in the order written, sums in ascending order.
 */
import { roundBetween } from '../round.js'

const { fround } = Math

/** Below this, values count as 0. */
export const LEAST_MAGNITUDE = fround(1e-15)

const STEP = fround(0.1)
/** The places beside the first guess, in tenths of a code. */
const PLACES = [-9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9]

/**
 * Fits `scale * (code - zero)` to values.
 * @param zero codes are from 0 to `2 * zero - 1`
 * @param codes takes one a value: all 0 where no value has a magnitude to speak of
 * @returns the scale; of either sign, NaN where sums overflow
 */
export function searchScale(x: Float32Array, weights: Float32Array, zero: number, codes: Uint8Array): number {
  const top = firstOfLargestMagnitude(x)
  if (Math.abs(top) < LEAST_MAGNITUDE) {
    codes.fill(0)
    return 0
  }
  let inverse = fround(-zero / top)
  let { sumXQ, sumQQ } = sums(x, weights, inverse, zero)
  let scale = sumQQ === 0 ? 0 : fround(sumXQ / sumQQ)
  let best = fround(scale * sumXQ)
  let bestInverse = inverse
  for (const place of PLACES) {
    inverse = fround(-fround(zero + fround(STEP * place)) / top)
    ;({ sumXQ, sumQQ } = sums(x, weights, inverse, zero))
    if (sumQQ > 0 && fround(sumXQ * sumXQ) > fround(best * sumQQ)) {
      scale = fround(sumXQ / sumQQ)
      best = fround(scale * sumXQ)
      bestInverse = inverse
    }
  }
  for (let i = 0; i < x.length; i++) codes[i] = zero + level(x[i] ?? 0, bestInverse, zero)
  return scale
}

/** The first of the values of the largest magnitude; 0 where there is none. NaN never is. */
export function firstOfLargestMagnitude(values: Float32Array): number {
  let top = 0
  for (const v of values) if (Math.abs(v) > Math.abs(top)) top = v
  return top
}

/** A value as a multiple of the scale whose inverse is given, from `-zero` to `zero - 1`. */
export function level(v: number, inverse: number, zero: number): number {
  return roundBetween(fround(inverse * v), -zero, zero - 1)
}

function sums(
  x: Float32Array,
  weights: Float32Array,
  inverse: number,
  zero: number,
): { readonly sumXQ: number; readonly sumQQ: number } {
  let sumXQ = 0
  let sumQQ = 0
  for (let i = 0; i < x.length; i++) {
    const v = x[i] ?? 0
    const w = weights[i] ?? 0
    const q = level(v, inverse, zero)
    sumXQ = fround(sumXQ + fround(fround(w * v) * q))
    sumQQ = fround(sumQQ + fround(fround(w * q) * q))
  }
  return { sumXQ, sumQQ }
}
