/**
 * The fit of values to `scale * q + min`, the min 0 at most, by weighted least squares over many candidate scales: what
 * Q4_K, Q5_K and Q2_K do for each of their sub-blocks, and with importance Q4_1 and Q5_1 for a block. It is llama.cpp's
 * `make_qkx2_quants` and `make_qkx3_quants`, in a build without fused multiply-add. Every operation is one IEEE
 * single-precision operation, in the order written, sums in ascending order: that is what makes the bytes equal.
 *
 * This is the readable reference; the SIMD kernel is tested against it.
 */
import { roundBetween } from '../round.js'

const { fround } = Math

/** What the types differ in. */
export interface AffineSearch {
  /** The greatest q. */
  readonly maxValue: number
  /** A candidate's scale is about `range / numerator`. In this order. */
  readonly numerators: readonly number[]
  /** Whether errors count by their magnitude, not by their square. */
  readonly isAbsolute: boolean
}

export interface AffineFit {
  readonly scale: number
  /** The negated min: 0 or positive. */
  readonly min: number
}

/** `(first + step * k) + maxValue` for k = 0 .. `count` - 1, every operation rounded. */
export function numerators(first: number, step: number, count: number, maxValue: number): number[] {
  return Array.from({ length: count }, (_, k) => fround(fround(fround(first) + fround(fround(step) * k)) + maxValue))
}

/** The candidates of every type with importance. */
export function weightedSearch(maxValue: number): AffineSearch {
  return { maxValue, numerators: numerators(-0.9, 0.05, 37, maxValue), isAbsolute: false }
}

const candidate = new Uint8Array(32)

/**
 * Fits up to 32 finite values.
 * @param weights one a value
 * @param best takes the values' q
 */
export function fitAffine(
  x: Float32Array,
  weights: Float32Array,
  { maxValue, numerators, isAbsolute }: AffineSearch,
  best: Uint8Array,
): AffineFit {
  let min = x[0] ?? 0
  let max = min
  let sumW = weights[0] ?? 0
  let sumX = fround(sumW * min)
  for (let i = 1; i < x.length; i++) {
    const v = x[i] ?? 0
    const w = weights[i] ?? 0
    if (v < min) min = v
    if (v > max) max = v
    sumW = fround(sumW + w)
    sumX = fround(sumX + fround(w * v))
  }
  if (min > 0) min = 0
  if (max === min) {
    best.fill(0)
    return { scale: 0, min: -min }
  }

  const quantize = (inverse: number, target: Uint8Array): void => {
    for (let i = 0; i < x.length; i++) {
      target[i] = roundBetween(fround(inverse * fround((x[i] ?? 0) - min)), 0, maxValue)
    }
  }
  const errorOf = (q: Uint8Array, tryScale: number, tryMin: number): number => {
    let sum = 0
    for (let i = 0; i < x.length; i++) {
      const e = fround(fround(fround(tryScale * (q[i] ?? 0)) + tryMin) - (x[i] ?? 0))
      sum = fround(sum + fround((weights[i] ?? 0) * (isAbsolute ? Math.abs(e) : fround(e * e))))
    }
    return sum
  }

  const inverse = fround(maxValue / fround(max - min))
  let scale = fround(1 / inverse)
  quantize(inverse, best)
  let bestError = errorOf(best, scale, min)

  for (const numerator of numerators) {
    // With the min of the candidate that was taken last.
    quantize(fround(numerator / fround(max - min)), candidate)
    let sumL = 0
    let sumL2 = 0
    let sumXL = 0
    for (let i = 0; i < x.length; i++) {
      const q = candidate[i] ?? 0
      const wq = fround((weights[i] ?? 0) * q)
      sumL = fround(sumL + wq)
      sumL2 = fround(sumL2 + fround(wq * q))
      sumXL = fround(sumXL + fround(wq * (x[i] ?? 0)))
    }
    const determinant = fround(fround(sumW * sumL2) - fround(sumL * sumL))
    if (!(determinant > 0)) continue
    let tryScale = fround(fround(fround(sumW * sumXL) - fround(sumX * sumL)) / determinant)
    let tryMin = fround(fround(fround(sumL2 * sumX) - fround(sumL * sumXL)) / determinant)
    if (tryMin > 0) {
      tryMin = 0
      tryScale = fround(sumXL / sumL2)
    }
    const error = errorOf(candidate, tryScale, tryMin)
    if (error < bestError) {
      bestError = error
      scale = tryScale
      min = tryMin
      best.set(candidate.subarray(0, x.length))
    }
  }
  return { scale, min: -min }
}
