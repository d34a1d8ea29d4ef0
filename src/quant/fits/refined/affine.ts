/**
 * Fit "refined" of Q4_K, Q5_K and Q2_K: less error in the same formats. Scales and mins of sub-blocks come from least
 * squares; then, round by round, the whole numbers that are stored for them are moved by one where the error falls, and
 * with those fixed the super-block's two halves are solved for again. Every operation is one IEEE single-precision
 * operation, in the order written, sums in ascending order; but for the last step, which is in double precision.
 *
 * This is the readable reference, and the definition of the bytes; the SIMD kernel is tested against it.
 */
import type { FitBlock } from '../../block.js'
import { packQ2K } from '../../blocks/q2k.js'
import { packQ4K } from '../../blocks/q4k.js'
import { packQ5K } from '../../blocks/q5k.js'
import type { AffineBlock } from '../../blocks/six-bit-scales.js'
import { f32ToF16 } from '../../float.js'
import { bound, code, ELEMENTS, halfAbove, LEAST, nearestHalf, NOTABLY, weigh } from './block.js'

const { fround } = Math

/** What the types differ in. */
interface RefinedAffine {
  readonly subBlockElements: number
  /** The greatest value, and the greatest scale and min. */
  readonly maxValue: number
  readonly maxScale: number
  readonly pack: (block: AffineBlock, target: Uint8Array, start: number) => void
}

/** A first scale's candidates are about `range / (maxValue + change)`. In this order. */
const CHANGES = [0, -1.2, -0.9, -0.6, -0.3, 0.3, 0.6, 0.9, 1.2]
/** Rounds without importance and with it. */
const ROUNDS = { plain: 2, weighted: 4 }

/** Least part of `sw * sll` that a determinant must have: below it, rounding decides. */
const LEAST_DETERMINANT = 2 ** -16
/** The same of the last step. */
const LEAST_DETERMINANT_64 = 2 ** -40

/** A sub-block: its values and weights, and what is found for it. */
interface SubBlock {
  readonly x: Float32Array
  readonly w: Float32Array
  readonly sumW: number
  readonly sumX: number
  readonly scale: number
  readonly min: number
}

const x = new Float32Array(ELEMENTS)
const w = new Float32Array(ELEMENTS)
const values = new Uint8Array(ELEMENTS)

function createFit(type: RefinedAffine): FitBlock {
  const { subBlockElements, maxValue, maxScale, pack } = type
  const numerators = CHANGES.map((change) => fround(maxValue + change))
  const subBlocks = ELEMENTS / subBlockElements
  const scales = new Uint8Array(subBlocks)
  const mins = new Uint8Array(subBlocks)

  return (source, target, start, weighting) => {
    bound(source, x)
    weigh(weighting?.importance, w)
    const parts = Array.from({ length: subBlocks }, (_, j) => {
      const first = j * subBlockElements
      return startOf(
        x.subarray(first, first + subBlockElements),
        w.subarray(first, first + subBlockElements),
        numerators,
        maxValue,
      )
    })
    let d = spread(
      parts.map(({ scale }) => scale),
      maxScale,
      scales,
    )
    let dmin = spread(
      parts.map(({ min }) => min),
      maxScale,
      mins,
    )
    const rounds = weighting ? ROUNDS.weighted : ROUNDS.plain
    for (let round = 0; round < rounds; round++) {
      parts.forEach((part, j) => {
        const [scale, min] = neighbour(part, d, dmin, scales[j] ?? 0, mins[j] ?? 0, type)
        scales[j] = scale
        mins[j] = min
      })
      ;[d, dmin] = solve(parts, d, dmin, scales, mins, maxValue)
    }
    parts.forEach((part, j) => {
      const step = fround(d * (scales[j] ?? 0))
      const low = fround(dmin * (mins[j] ?? 0))
      const inverse = inverseOf(step)
      part.x.forEach((v, i) => (values[j * subBlockElements + i] = valueOf(fround(v + low), inverse, maxValue)))
    })
    pack({ d: f32ToF16(d), dmin: f32ToF16(dmin), scales, mins, values }, target, start)
  }
}

/** A sub-block's first scale and min: of the candidates, those that leave the least error. */
function startOf(x: Float32Array, w: Float32Array, numerators: readonly number[], maxValue: number): SubBlock {
  let low = 0
  let high = x[0] ?? 0
  for (const v of x) {
    if (v < low) low = v
    if (v > high) high = v
  }
  let sumW = 0
  let sumX = 0
  let sumY = 0
  for (let i = 0; i < x.length; i++) {
    const v = x[i] ?? 0
    const u = w[i] ?? 0
    sumW = fround(sumW + u)
    sumX = fround(sumX + fround(u * v))
    sumY = fround(sumY + fround(u * fround(v - low)))
  }
  const range = fround(high - low)
  if (range < LEAST) return { x, w, sumW, sumX, scale: 0, min: -low }

  let scale = fround(range / maxValue)
  let offset = 0
  let bestGain = 0
  for (const numerator of numerators) {
    const inverse = fround(numerator / range)
    let sumL = 0
    let sumL2 = 0
    let sumYL = 0
    for (let i = 0; i < x.length; i++) {
      const y = fround((x[i] ?? 0) - low)
      const q = valueOf(y, inverse, maxValue)
      const wq = fround((w[i] ?? 0) * q)
      sumL = fround(sumL + wq)
      sumL2 = fround(sumL2 + fround(wq * q))
      sumYL = fround(sumYL + fround(wq * y))
    }
    const product = fround(sumW * sumL2)
    const determinant = fround(product - fround(sumL * sumL))
    if (!(determinant > fround(LEAST_DETERMINANT * product))) continue
    let tryScale = fround(fround(fround(sumW * sumYL) - fround(sumY * sumL)) / determinant)
    let tryOffset = fround(fround(fround(sumL2 * sumY) - fround(sumL * sumYL)) / determinant)
    // The min that is stored is 0 at most.
    if (tryOffset > -low) {
      tryOffset = -low
      tryScale = fround(fround(sumYL - fround(tryOffset * sumL)) / sumL2)
    }
    // What the sum of squared errors falls by.
    const ofScale = fround(fround(fround(2 * sumYL) - fround(tryScale * sumL2)) - fround(fround(2 * tryOffset) * sumL))
    const ofOffset = fround(fround(2 * sumY) - fround(tryOffset * sumW))
    const gain = fround(fround(tryScale * ofScale) + fround(tryOffset * ofOffset))
    if (gain > fround(bestGain * NOTABLY)) {
      bestGain = gain
      scale = tryScale
      offset = tryOffset
    }
  }
  return { x, w, sumW, sumX, scale, min: -fround(low + offset) }
}

/** Whole numbers up to `most` for scales or mins. Returns what they count in, a half. */
function spread(numbers: readonly number[], most: number, codes: Uint8Array): number {
  let max = 0
  for (const v of numbers) if (v > max) max = v
  const unit = halfAbove(fround(max / most))
  numbers.forEach((v, j) => (codes[j] = unit === 0 ? 0 : code(fround(v / unit), 0, most)))
  return unit
}

const STEPS = [-1, 0, 1]

/** The scale and min, at most one away from what they were, with the least error; as they were, if none is better. */
function neighbour(
  part: SubBlock,
  d: number,
  dmin: number,
  scale: number,
  min: number,
  { maxValue, maxScale }: RefinedAffine,
): readonly [scale: number, min: number] {
  const isCode = (c: number): boolean => c >= 0 && c <= maxScale
  let best: readonly [number, number] = [scale, min]
  let bestError = errorOf(part, fround(d * scale), fround(dmin * min), maxValue)
  for (const tryScale of STEPS.map((step) => scale + step).filter(isCode)) {
    for (const tryMin of STEPS.map((step) => min + step).filter(isCode)) {
      const error = errorOf(part, fround(d * tryScale), fround(dmin * tryMin), maxValue)
      if (error < bestError) {
        bestError = error
        best = [tryScale, tryMin]
      }
    }
  }
  return best
}

/** The weighted sum of squared errors, every value being the nearest. */
function errorOf({ x, w }: SubBlock, step: number, low: number, maxValue: number): number {
  const inverse = inverseOf(step)
  let sum = 0
  for (let i = 0; i < x.length; i++) {
    const y = fround((x[i] ?? 0) + low)
    const e = fround(fround(step * valueOf(y, inverse, maxValue)) - y)
    sum = fround(sum + fround((w[i] ?? 0) * fround(e * e)))
  }
  return sum
}

/** With scales, mins and values fixed, the two halves that leave the least error; the old ones, if these are better. */
function solve(
  parts: readonly SubBlock[],
  d: number,
  dmin: number,
  scales: Uint8Array,
  mins: Uint8Array,
  maxValue: number,
): readonly [d: number, dmin: number] {
  // Of products of the model `d * (scale * q) - dmin * min`, in double precision from here on but for sums of a sub-block.
  let a = 0
  let b = 0
  let c = 0
  let p = 0
  let r = 0
  parts.forEach(({ x, w, sumW, sumX }, j) => {
    const scale = scales[j] ?? 0
    const min = mins[j] ?? 0
    const low = fround(dmin * min)
    const inverse = inverseOf(fround(d * scale))
    let sumL = 0
    let sumL2 = 0
    let sumXL = 0
    for (let i = 0; i < x.length; i++) {
      const v = x[i] ?? 0
      const q = valueOf(fround(v + low), inverse, maxValue)
      const wq = fround((w[i] ?? 0) * q)
      sumL = fround(sumL + wq)
      sumL2 = fround(sumL2 + fround(wq * q))
      sumXL = fround(sumXL + fround(wq * v))
    }
    a += scale * scale * sumL2
    b += scale * min * sumL
    c += min * min * sumW
    p += scale * sumXL
    r += min * sumX
  })
  let tryD = p / a
  let tryMin = dmin
  if (c > 0) {
    const determinant = a * c - b * b
    if (!(determinant > LEAST_DETERMINANT_64 * (a * c))) return [d, dmin]
    tryD = (p * c - b * r) / determinant
    tryMin = (b * p - a * r) / determinant
  }
  if (!(tryD > 0 && tryMin >= 0)) return [d, dmin]
  const newD = nearestHalf(tryD)
  const newMin = nearestHalf(tryMin)
  const error = (d: number, m: number): number => d * (a * d - 2 * (b * m) - 2 * p) + m * (c * m + 2 * r)
  return error(newD, newMin) < error(d, dmin) ? [newD, newMin] : [d, dmin]
}

function inverseOf(step: number): number {
  return step > 0 ? fround(1 / step) : 0
}

function valueOf(y: number, inverse: number, maxValue: number): number {
  return code(fround(y * inverse), 0, maxValue)
}

const SIX_BITS = { subBlockElements: 32, maxScale: 63 } as const

export const refineQ4K = createFit({ ...SIX_BITS, maxValue: 15, pack: packQ4K })
export const refineQ5K = createFit({ ...SIX_BITS, maxValue: 31, pack: packQ5K })
export const refineQ2K = createFit({ subBlockElements: 16, maxScale: 15, maxValue: 3, pack: packQ2K })
