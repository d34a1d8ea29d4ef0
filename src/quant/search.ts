/**
 * Fit "search": the bytes of llama.cpp's `ggml_quantize_chunk(GGML_TYPE_Q4_K)` without an importance matrix
 * (`make_qkx2_quants`, in a build without fused multiply-add). Every operation is one IEEE single-precision operation,
 * in the order written, sums in ascending order: that is what makes the bytes equal.
 *
 * This is the readable reference; the SIMD kernel is tested against it.
 */
import { f16ToF32, f32ToF16 } from './float.js'
import { round, roundBetween } from './fits/round.js'
import { MAX_SCALE, MAX_VALUE, packBlock, SUB_BLOCK_ELEMENTS, SUB_BLOCKS } from './blocks/q4k.js'

const { fround } = Math

/** The candidates' numerators: `(-1 + 0.1 * k) + 15`. */
const CANDIDATES = Array.from({ length: 21 }, (_, k) => fround(fround(-1 + fround(fround(0.1) * k)) + MAX_VALUE))

/** A fitted sub-block; its values are left in `levels`. */
interface SubBlockFit {
  readonly scale: number
  /** The negated minimum: zero or positive. */
  readonly min: number
}

const weights = new Float32Array(SUB_BLOCK_ELEMENTS)
const candidate = new Uint8Array(SUB_BLOCK_ELEMENTS)
const levels = new Uint8Array(SUB_BLOCKS * SUB_BLOCK_ELEMENTS)
const scales = new Float32Array(SUB_BLOCKS)
const mins = new Float32Array(SUB_BLOCKS)
const scales6 = new Uint8Array(SUB_BLOCKS)
const mins6 = new Uint8Array(SUB_BLOCKS)

/**
 * Fits one super-block.
 * @param x 256 finite values
 * @param target takes 144 bytes at `start`
 */
export function searchBlock(x: Float32Array, target: Uint8Array, start: number): void {
  let maxScale = 0
  let maxMin = 0
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const first = j * SUB_BLOCK_ELEMENTS
    const fit = fitSubBlock(
      x.subarray(first, first + SUB_BLOCK_ELEMENTS),
      levels.subarray(first, first + SUB_BLOCK_ELEMENTS),
    )
    scales[j] = fit.scale
    mins[j] = fit.min
    if (fit.scale > maxScale) maxScale = fit.scale
    if (fit.min > maxMin) maxMin = fit.min
  }

  const inverseScale = maxScale > 0 ? fround(MAX_SCALE / maxScale) : 0
  const inverseMin = maxMin > 0 ? fround(MAX_SCALE / maxMin) : 0
  for (let j = 0; j < SUB_BLOCKS; j++) {
    scales6[j] = Math.min(MAX_SCALE, round(fround(inverseScale * (scales[j] ?? 0))) & 0xff)
    mins6[j] = Math.min(MAX_SCALE, round(fround(inverseMin * (mins[j] ?? 0))) & 0xff)
  }
  const d = f32ToF16(fround(maxScale / MAX_SCALE))
  const dmin = f32ToF16(fround(maxMin / MAX_SCALE))

  // Every value is chosen again with the scale as it will be decoded.
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const step = fround(f16ToF32(d) * (scales6[j] ?? 0))
    if (step === 0) continue
    const low = fround(f16ToF32(dmin) * (mins6[j] ?? 0))
    for (let i = j * SUB_BLOCK_ELEMENTS; i < (j + 1) * SUB_BLOCK_ELEMENTS; i++) {
      levels[i] = level(fround(fround((x[i] ?? 0) + low) / step))
    }
  }
  packBlock({ d, dmin, scales: scales6, mins: mins6, values: levels }, target, start)
}

/** Finds scale and min of 32 values by weighted least squares over 22 candidate scales. */
function fitSubBlock(x: Float32Array, best: Uint8Array): SubBlockFit {
  let sumSquares = 0
  for (const v of x) sumSquares = fround(sumSquares + fround(v * v))
  const average = fround(Math.sqrt(fround(sumSquares / SUB_BLOCK_ELEMENTS)))
  x.forEach((v, i) => (weights[i] = average + Math.abs(v)))

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

  let inverse = fround(MAX_VALUE / fround(max - min))
  let scale = fround(1 / inverse)
  quantize(x, inverse, min, best)
  let bestError = weightedError(x, best, scale, min)

  for (const numerator of CANDIDATES) {
    inverse = fround(numerator / fround(max - min))
    quantize(x, inverse, min, candidate)
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
    let candidateScale = fround(fround(fround(sumW * sumXL) - fround(sumX * sumL)) / determinant)
    let candidateMin = fround(fround(fround(sumL2 * sumX) - fround(sumL * sumXL)) / determinant)
    if (candidateMin > 0) {
      candidateMin = 0
      candidateScale = fround(sumXL / sumL2)
    }
    const error = weightedError(x, candidate, candidateScale, candidateMin)
    if (error < bestError) {
      bestError = error
      scale = candidateScale
      min = candidateMin
      best.set(candidate)
    }
  }
  return { scale, min: -min }
}

function quantize(x: Float32Array, inverse: number, min: number, target: Uint8Array): void {
  for (let i = 0; i < x.length; i++) target[i] = level(fround(inverse * fround((x[i] ?? 0) - min)))
}

function weightedError(x: Float32Array, q: Uint8Array, scale: number, min: number): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) {
    const difference = fround(fround(fround(scale * (q[i] ?? 0)) + min) - (x[i] ?? 0))
    sum = fround(sum + fround((weights[i] ?? 0) * fround(difference * difference)))
  }
  return sum
}

function level(v: number): number {
  return roundBetween(v, 0, MAX_VALUE)
}
