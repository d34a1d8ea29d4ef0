/** Q6_K as llama.cpp's `ggml_quantize_chunk(GGML_TYPE_Q6_K)` fits it, with and without an importance matrix. */
import type { Weighting } from '../../block.js'
import { packQ6KBlock, Q6K_BLOCK_BYTES } from '../../blocks/q6k.js'
import { f16ToF32, f32ToF16 } from '../../float.js'
import { round } from '../round.js'
import { firstOfLargestMagnitude, LEAST_MAGNITUDE, searchScale } from './search.js'
import { chooseAgain } from './values.js'

const { fround } = Math

const SUB_BLOCKS = 16
const SUB_BLOCK_ELEMENTS = 16
/** Values are stored from 0 up, scales from -128 up. */
const ZERO = 32
const MOST_SCALE = 127

const squares = new Float32Array(256)
const codes = new Uint8Array(256)
const scales = new Float32Array(SUB_BLOCKS)
const scales8 = new Int8Array(SUB_BLOCKS)

/**
 * Fits one super-block.
 * @param x 256 finite values
 * @param target takes 210 bytes at `start`
 */
export function fitQ6KBlock(x: Float32Array, target: Uint8Array, start: number, weighting?: Weighting): void {
  if (!weighting) x.forEach((v, i) => (squares[i] = v * v))
  const weights = weighting?.importance ?? squares
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const first = j * SUB_BLOCK_ELEMENTS
    const end = first + SUB_BLOCK_ELEMENTS
    const values = x.subarray(first, end)
    scales[j] = searchScale(values, weights.subarray(first, end), ZERO, codes.subarray(first, end))
  }
  const maxScale = firstOfLargestMagnitude(scales)
  if (Math.abs(maxScale) < LEAST_MAGNITUDE) {
    target.fill(0, start, start + Q6K_BLOCK_BYTES)
    return
  }
  const inverse = fround(-128 / maxScale)
  for (let j = 0; j < SUB_BLOCKS; j++) {
    scales8[j] = Math.min(MOST_SCALE, round(fround(inverse * (scales[j] ?? 0))))
  }
  const d = f32ToF16(fround(1 / inverse))
  chooseAgain(x, f16ToF32(d), scales8, ZERO, codes)
  packQ6KBlock({ d, scales: scales8, values: codes }, target, start)
}
