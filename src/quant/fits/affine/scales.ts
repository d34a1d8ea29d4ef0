/**
 * With importance, the scales of a super-block's sub-blocks, and likewise their mins, become whole numbers and one common
 * factor by a fit of their own: llama.cpp's `make_qp_quants`.
 */
import { round } from '../round.js'

const { fround } = Math

/** Scales that are all below this count as 0. */
const EPSILON = fround(1e-15)
/** Passes in which single numbers are moved. */
const PASSES = 5
/** Changes of the first guess's numerator, in tenths. */
const CHANGES = [-4, -3, -2, -1, 1, 2, 3, 4]

/**
 * Fits `values` to `factor * code`.
 * @param weights one a value
 * @param codes takes the whole numbers up to `maxCode`; a negative one, which a negative value can bring, as its low byte,
 *   and that byte counts in what follows
 * @returns the factor
 */
export function fitScales(values: Float32Array, weights: Float32Array, maxCode: number, codes: Uint8Array): number {
  let max = 0
  for (const v of values) max = max > v ? max : v
  if (max < EPSILON) {
    codes.fill(0)
    return 0
  }

  const at = (i: number): readonly [v: number, w: number] => [values[i] ?? 0, weights[i] ?? 0]
  const capped = (v: number): number => Math.min(maxCode, round(v))
  const errorOf = (inverse: number, codeOf: (v: number) => number): number => {
    const scale = fround(1 / inverse)
    let sum = 0
    for (let i = 0; i < values.length; i++) {
      const [v, w] = at(i)
      const e = fround(v - fround(scale * codeOf(fround(inverse * v))))
      sum = fround(sum + fround(fround(w * e) * e))
    }
    return sum
  }

  let inverse = fround(maxCode / max)
  // The first guess alone is cut to a byte, and not capped.
  let bestError = errorOf(inverse, (v) => round(v) & 255)
  for (const change of CHANGES) {
    const tryInverse = fround(fround(fround(fround(0.1) * change) + maxCode) / max)
    const error = errorOf(tryInverse, capped)
    if (error < bestError) {
      bestError = error
      inverse = tryInverse
    }
  }

  let sumXL = 0
  let sumL2 = 0
  for (let i = 0; i < values.length; i++) {
    const [v, w] = at(i)
    const code = capped(fround(inverse * v))
    codes[i] = code
    sumXL = fround(sumXL + fround(fround(w * v) * code))
    sumL2 = fround(sumL2 + fround(fround(w * code) * code))
  }

  for (let pass = 0, changed = true; pass < PASSES && changed; pass++) {
    changed = false
    for (let i = 0; i < values.length; i++) {
      const [v, w] = at(i)
      const code = codes[i] ?? 0
      let restXL = fround(sumXL - fround(fround(w * v) * code))
      let restL2 = fround(sumL2 - fround(fround(w * code) * code))
      if (!(restXL > 0 && restL2 > 0)) continue
      const better = capped(fround(fround(v * restL2) / restXL))
      if (better === code) continue
      restXL = fround(restXL + fround(fround(w * v) * better))
      restL2 = fround(restL2 + fround(fround(w * better) * better))
      if (fround(fround(restXL * restXL) * sumL2) > fround(fround(sumXL * sumXL) * restL2)) {
        codes[i] = better
        sumXL = restXL
        sumL2 = restL2
        changed = true
      }
    }
  }
  return sumL2 > 0 ? fround(sumXL / sumL2) : 0
}
