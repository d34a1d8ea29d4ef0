/** Q4_0 and Q5_0 with an importance matrix, as llama.cpp's `ggml_quantize_chunk` fits them. */
import type { Weighting } from '../../block.js'
import { f32ToF16 } from '../../float.js'
import { weigh } from '../importance.js'
import { searchScale } from './search.js'

const weights = new Float32Array(32)

/**
 * Fits one block of 32 values.
 * @param zero codes are from 0 to `2 * zero - 1`
 * @param codes takes 32
 * @returns the scale, as an f16 pattern
 */
export function fitWeightedBlock(x: Float32Array, weighting: Weighting, zero: number, codes: Uint8Array): number {
  weigh(x, weighting.importance, weighting.rowMeanSquare, weights)
  return f32ToF16(searchScale(x, weights, zero, codes))
}
