/**
 * Fit "refined" of Q6_K and Q3_K: as that of `affine.ts`, for values around 0. Sums of squared errors are told from the
 * sums that least squares need, so that one pass over the values does for both.
 *
 * This is the readable reference, and the definition of the bytes; the SIMD kernel is tested against it.
 */
import type { FitBlock } from '../../block.js'
import { packQ3KBlock } from '../../blocks/q3k.js'
import { packQ6KBlock } from '../../blocks/q6k.js'
import { f32ToF16 } from '../../float.js'
import { bound, code, ELEMENTS, halfAbove, LEAST, nearestHalf, NOTABLY, weigh } from './block.js'

const { fround } = Math

/** What the types differ in. */
interface RefinedSigned {
  /** Values are from `-zero` to `zero - 1`, scales likewise. */
  readonly zero: number
  readonly scaleZero: number
  /** By how much a scale may be moved, without importance and with it. In this order. */
  readonly moves: { readonly plain: readonly number[]; readonly weighted: readonly number[] }
  readonly pack: (block: SignedBlock, target: Uint8Array, start: number) => void
}

/** A super-block, unpacked: an f16 pattern, scales, and values counted from 0 up. */
interface SignedBlock {
  readonly d: number
  readonly scales: Int8Array
  readonly values: Uint8Array
}

interface SubBlock {
  readonly x: Float32Array
  readonly w: Float32Array
}

/** `sum(w * x * q)` and `sum(w * q * q)`. */
interface Sums {
  readonly xq: number
  readonly qq: number
}

/** A first scale's candidates are about `top / (zero + change)`. In this order. */
const CHANGES = [0, -0.9, -0.6, -0.3, 0.3, 0.6, 0.9]

/** Moves of a scale. */
const NEAR = [-1, 1]
const FAR = [-1, 1, -4, -3, -2, 2, 3, 4]

const SUB_BLOCKS = 16
const SUB_BLOCK_ELEMENTS = 16

const x = new Float32Array(ELEMENTS)
const w = new Float32Array(ELEMENTS)
const values = new Uint8Array(ELEMENTS)
const scales = new Int8Array(SUB_BLOCKS)

function createFit({ zero, scaleZero, moves, pack }: RefinedSigned): FitBlock {
  const numerators = CHANGES.map((change) => fround(-(zero + change)))

  return (source, target, start, weighting) => {
    bound(source, x)
    weigh(weighting?.importance, w)
    const parts = Array.from({ length: SUB_BLOCKS }, (_, j): SubBlock => {
      const [first, end] = [j * SUB_BLOCK_ELEMENTS, (j + 1) * SUB_BLOCK_ELEMENTS]
      return { x: x.subarray(first, end), w: w.subarray(first, end) }
    })
    let d = spread(
      parts.map((part) => firstScale(part, numerators, zero)),
      scaleZero,
    )
    d = refine(parts, d, weighting ? moves.weighted : moves.plain)
    parts.forEach((part, j) => {
      const inverse = inverseOf(fround(d * (scales[j] ?? 0)))
      part.x.forEach((v, i) => (values[j * SUB_BLOCK_ELEMENTS + i] = zero + valueOf(v, inverse, zero)))
    })
    pack({ d: f32ToF16(d), scales, values }, target, start)
  }

  /** Moves every scale to where it leaves the least error. Returns the half that all count in, with that error least too. */
  function refine(parts: readonly SubBlock[], d: number, moves: readonly number[]): number {
    // In double precision, but for the sums of a sub-block.
    let a = 0
    let p = 0
    parts.forEach((part, j) => {
      const old = scales[j] ?? 0
      let best = old
      let sums = sumsOf(part, inverseOf(fround(d * old)), zero)
      let bestError = errorOf(sums, fround(d * old))
      for (const move of moves) {
        const scale = old + move
        if (scale < -scaleZero || scale >= scaleZero) continue
        const step = fround(d * scale)
        const found = sumsOf(part, inverseOf(step), zero)
        const error = errorOf(found, step)
        if (error < bestError) {
          bestError = error
          best = scale
          sums = found
        }
      }
      scales[j] = best
      a += best * best * sums.qq
      p += best * sums.xq
    })
    if (!(a > 0)) return d
    const newD = nearestHalf(p / a)
    const error = (d: number): number => d * (a * d - 2 * p)
    return error(newD) < error(d) ? newD : d
  }
}

/** Of the candidates, the scale that leaves the least error. */
function firstScale(part: SubBlock, numerators: readonly number[], zero: number): number {
  let low = 0
  let high = 0
  for (const v of part.x) {
    if (v < low) low = v
    if (v > high) high = v
  }
  const top = -low >= high ? low : high
  if (Math.abs(top) < LEAST) return 0
  let scale = fround(top / -zero)
  let best = 0
  for (const numerator of numerators) {
    const { xq, qq } = sumsOf(part, fround(numerator / top), zero)
    const tryScale = fround(xq / qq)
    const gain = fround(tryScale * xq)
    if (gain > fround(best * NOTABLY)) {
      best = gain
      scale = tryScale
    }
  }
  return scale
}

/** Fills `scales`. Returns what they count in, a half: its sign gives the larger side the larger range. */
function spread(numbers: readonly number[], scaleZero: number): number {
  let positive = 0
  let negative = 0
  for (const v of numbers) {
    if (v > positive) positive = v
    if (-v > negative) negative = -v
  }
  const larger = fround(Math.max(positive, negative) / scaleZero)
  const smaller = fround(Math.min(positive, negative) / (scaleZero - 1))
  const size = halfAbove(Math.max(larger, smaller))
  const d = size === 0 || negative > positive ? size : -size
  numbers.forEach((v, j) => (scales[j] = size === 0 ? 0 : code(fround(v / d), -scaleZero, scaleZero - 1)))
  return d
}

function sumsOf({ x, w }: SubBlock, inverse: number, zero: number): Sums {
  let xq = 0
  let qq = 0
  for (let i = 0; i < x.length; i++) {
    const v = x[i] ?? 0
    const q = valueOf(v, inverse, zero)
    const wq = fround((w[i] ?? 0) * q)
    xq = fround(xq + fround(wq * v))
    qq = fround(qq + fround(wq * q))
  }
  return { xq, qq }
}

/** The sum of squared errors, less that of the values themselves. */
function errorOf({ xq, qq }: Sums, step: number): number {
  return fround(step * fround(fround(step * qq) - fround(2 * xq)))
}

function valueOf(v: number, inverse: number, zero: number): number {
  return code(fround(v * inverse), -zero, zero - 1)
}

function inverseOf(step: number): number {
  return step === 0 ? 0 : fround(1 / step)
}

export const refineQ6K = createFit({
  zero: 32,
  scaleZero: 128,
  moves: { plain: FAR, weighted: FAR },
  pack: packQ6KBlock,
})

export const refineQ3K = createFit({
  zero: 4,
  scaleZero: 32,
  moves: { plain: NEAR, weighted: FAR },
  // Q3_K stores scales from 0 up.
  pack: ({ d, scales, values }, target, start) =>
    packQ3KBlock({ d, scales: Array.from(scales, (scale) => scale + 32), values }, target, start),
})
