/**
 * A scale for values around 0, by moving one value's code after the other: what llama.cpp's `make_q3_quants` finds. The
 * weight of a value is its square. Every operation is one IEEE single-precision operation, in the order written.
 */
import { roundBetween } from '../round.js'
import { firstOfLargestMagnitude, LEAST_MAGNITUDE, level } from './search.js'

const { fround } = Math

const MAX_PASSES = 5

/**
 * Fits `scale * (code - zero)` to values.
 * @param zero codes are from 0 to `2 * zero - 1`
 * @param codes takes one a value: all 0 where no value has a magnitude to speak of
 * @returns the scale; of either sign, NaN where sums overflow
 */
export function descendToScale(x: Float32Array, zero: number, codes: Uint8Array): number {
  const top = firstOfLargestMagnitude(x)
  if (Math.abs(top) < LEAST_MAGNITUDE) {
    codes.fill(0)
    return 0
  }
  const inverse = fround(-zero / top)
  let sumXQ = 0
  let sumQQ = 0
  for (let i = 0; i < x.length; i++) {
    const v = x[i] ?? 0
    const q = level(v, inverse, zero)
    codes[i] = zero + q
    sumXQ = fround(sumXQ + cube(v, q))
    sumQQ = fround(sumQQ + square(v, q))
  }
  for (let pass = 0, hasChanged = true; pass < MAX_PASSES && hasChanged; pass++) {
    hasChanged = false
    for (let i = 0; i < x.length; i++) {
      const v = x[i] ?? 0
      const q = (codes[i] ?? 0) - zero
      // The sums without this value tell its best code.
      let otherXQ = fround(sumXQ - cube(v, q))
      if (!(otherXQ > 0)) continue
      let otherQQ = fround(sumQQ - square(v, q))
      const better = roundBetween(fround(fround(v * otherQQ) / otherXQ), -zero, zero - 1)
      if (better === q) continue
      otherXQ = fround(otherXQ + cube(v, better))
      otherQQ = fround(otherQQ + square(v, better))
      const gain = fround(fround(otherXQ * otherXQ) * sumQQ)
      if (otherQQ > 0 && gain > fround(fround(sumXQ * sumXQ) * otherQQ)) {
        codes[i] = zero + better
        sumXQ = otherXQ
        sumQQ = otherQQ
        hasChanged = true
      }
    }
  }
  return sumQQ > 0 ? fround(sumXQ / sumQQ) : 0
}

/** `w * x * q`, and `w * q * q`: what a value adds to the sums. */
function cube(v: number, q: number): number {
  return fround(fround(fround(v * v) * v) * q)
}

function square(v: number, q: number): number {
  return fround(fround(fround(v * v) * q) * q)
}
