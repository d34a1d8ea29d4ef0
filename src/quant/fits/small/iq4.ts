/**
 * IQ4_NL and IQ4_XS as llama.cpp's `ggml_quantize_chunk` fits them, with and without an importance matrix. Every operation is
 * one IEEE single-precision operation, in the order written, sums in ascending order.
 */
import type { FitBlock, Weighting } from '../../block.js'
import { LEVELS, packIQ4NLBlock, packIQ4XSBlock } from '../../blocks/iq4.js'
import { f32ToF16 } from '../../float.js'
import { sumOfSquares, weigh } from '../importance.js'
import { roundBetween } from '../round.js'
import { firstOfLargestMagnitude, LEAST_MAGNITUDE } from '../signed/search.js'
import { inverseOf } from './signed.js'

const { fround } = Math

const SUB_BLOCKS = 8
const SUB_BLOCK_ELEMENTS = 32
/** Magnitude of the lowest level, the largest of all. */
const LARGEST_LEVEL = 127
/** Which levels the value of the largest magnitude is put at, one after the other: from -134 to -120. */
const PLACES = Array.from({ length: 15 }, (_, k) => k - 7 - LARGEST_LEVEL)

const weights = new Float32Array(256)
const codes = new Uint8Array(256)
const scales = new Float32Array(SUB_BLOCKS)
const scales6 = new Uint8Array(SUB_BLOCKS)

/**
 * Fits one block of IQ4_NL.
 * @param x 32 finite values
 * @param target takes 18 bytes at `start`
 */
export const fitIQ4NLBlock: FitBlock = (x, target, start, weighting) => {
  setWeights(x, weighting)
  const scale = searchScale(x, weights)
  chooseCodes(x, inverseOf(scale), codes)
  packIQ4NLBlock({ d: f32ToF16(scale), values: codes }, target, start)
}

/**
 * Fits one super-block of IQ4_XS.
 * @param x 256 finite values
 * @param target takes 136 bytes at `start`
 */
export const fitIQ4XSBlock: FitBlock = (x, target, start, weighting) => {
  setWeights(x, weighting)
  for (let j = 0; j < SUB_BLOCKS; j++) scales[j] = searchScale(subBlock(x, j), subBlock(weights, j))

  const d = fround(-firstOfLargestMagnitude(scales) / 32)
  const inverse = inverseOf(d)
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const scale = roundBetween(fround(inverse * (scales[j] ?? 0)), -32, 31)
    scales6[j] = scale + 32
    // With the scale before it is rounded to f16.
    chooseCodes(subBlock(x, j), inverseOf(fround(d * scale)), subBlock(codes, j))
  }
  packIQ4XSBlock({ d: f32ToF16(d), scales: scales6, codes }, target, start)
}

/** The mean square that weights count from is twice that of the block or super-block, whatever stands around it. */
function setWeights(x: Float32Array, weighting: Weighting | undefined): void {
  if (weighting) weigh(x, weighting.importance, fround(sumOfSquares(x) * fround(2 / x.length)), weights)
  else x.forEach((v, i) => (weights[i] = v * v))
}

/** The best of 16 scales, by weighted least squares; of either sign, NaN where sums overflow. */
function searchScale(x: Float32Array, w: Float32Array): number {
  const top = firstOfLargestMagnitude(x)
  if (Math.abs(top) < LEAST_MAGNITUDE) return 0
  let { sumXQ, sumQQ } = sums(x, w, fround(1 / fround(top / LARGEST_LEVEL)))
  let scale = sumQQ > 0 ? fround(sumXQ / sumQQ) : 0
  let best = fround(scale * sumXQ)
  for (const place of PLACES) {
    ;({ sumXQ, sumQQ } = sums(x, w, fround(place / top)))
    if (sumQQ > 0 && fround(sumXQ * sumXQ) > fround(best * sumQQ)) {
      scale = fround(sumXQ / sumQQ)
      best = fround(scale * sumXQ)
    }
  }
  return scale
}

function sums(x: Float32Array, w: Float32Array, inverse: number): { readonly sumXQ: number; readonly sumQQ: number } {
  let sumXQ = 0
  let sumQQ = 0
  for (let i = 0; i < x.length; i++) {
    const v = x[i] ?? 0
    const q = LEVELS[nearestCode(fround(inverse * v))] ?? 0
    const wq = fround((w[i] ?? 0) * q)
    sumXQ = fround(sumXQ + fround(wq * v))
    sumQQ = fround(sumQQ + fround(wq * q))
  }
  return { sumXQ, sumQQ }
}

function chooseCodes(x: Float32Array, inverse: number, target: Uint8Array): void {
  x.forEach((v, i) => (target[i] = nearestCode(fround(inverse * v))))
}

/** The code whose level is nearest, the upper one of two; the last for NaN. The middles are exact in f32. */
function nearestCode(v: number): number {
  let code = 0
  while (code < LEVELS.length - 1 && !(2 * v < (LEVELS[code] ?? 0) + (LEVELS[code + 1] ?? 0))) code++
  return code
}

function subBlock<T extends Float32Array | Uint8Array>(values: T, j: number): T {
  return values.subarray(j * SUB_BLOCK_ELEMENTS, (j + 1) * SUB_BLOCK_ELEMENTS) as T
}
