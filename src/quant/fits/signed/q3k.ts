/** Q3_K as llama.cpp's `ggml_quantize_chunk(GGML_TYPE_Q3_K)` fits it, with and without an importance matrix. */
import type { Weighting } from '../../block.js'
import { packQ3KBlock } from '../../blocks/q3k.js'
import { f16ToF32, f32ToF16 } from '../../float.js'
import { sumOfSquares, weigh } from '../importance.js'
import { round } from '../round.js'
import { descendToScale } from './descent.js'
import { firstOfLargestMagnitude, searchScale } from './search.js'
import { chooseAgain } from './values.js'

const { fround } = Math

const SUB_BLOCKS = 16
const SUB_BLOCK_ELEMENTS = 16
/** Values are stored from 0 up, and scales too. */
const ZERO = 4
const SCALE_ZERO = 32

const weights = new Float32Array(256)
const codes = new Uint8Array(256)
const scales = new Float32Array(SUB_BLOCKS)
const scaleWeights = new Float32Array(SUB_BLOCKS)
const scaleCodes = new Uint8Array(SUB_BLOCKS)

/**
 * Fits one super-block.
 * @param x 256 finite values
 * @param target takes 110 bytes at `start`
 */
export function fitQ3KBlock(x: Float32Array, target: Uint8Array, start: number, weighting?: Weighting): void {
  const d = f32ToF16(weighting ? fitWeighted(x, weighting.importance) : fitPlain(x))
  const signedScales = Array.from(scaleCodes, (code) => code - SCALE_ZERO)
  chooseAgain(x, f16ToF32(d), signedScales, ZERO, codes)
  packQ3KBlock({ d, scales: scaleCodes, values: codes }, target, start)
}

/** Fills `codes` and `scaleCodes`; returns the scale of the scales. */
function fitPlain(x: Float32Array): number {
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const first = j * SUB_BLOCK_ELEMENTS
    const end = first + SUB_BLOCK_ELEMENTS
    scales[j] = descendToScale(x.subarray(first, end), ZERO, codes.subarray(first, end))
  }
  const maxScale = firstOfLargestMagnitude(scales)
  if (maxScale === 0) {
    scaleCodes.fill(0)
    return 0
  }
  const inverse = fround(-SCALE_ZERO / maxScale)
  for (let j = 0; j < SUB_BLOCKS; j++) {
    // The reference cuts to a signed byte before it clamps.
    const byte = (round(fround(inverse * (scales[j] ?? 0))) << 24) >> 24
    scaleCodes[j] = SCALE_ZERO + Math.max(-SCALE_ZERO, Math.min(SCALE_ZERO - 1, byte))
  }
  return fround(1 / inverse)
}

function fitWeighted(x: Float32Array, importance: Float32Array): number {
  weigh(x, importance, fround(fround(2 * sumOfSquares(x)) / x.length), weights)
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const first = j * SUB_BLOCK_ELEMENTS
    const end = first + SUB_BLOCK_ELEMENTS
    const ownWeights = weights.subarray(first, end)
    scaleWeights[j] = ownWeights.reduce((sum, w) => fround(sum + w), 0)
    scales[j] = searchScale(x.subarray(first, end), ownWeights, ZERO, codes.subarray(first, end))
  }
  return searchScale(scales, scaleWeights, SCALE_ZERO, scaleCodes)
}
