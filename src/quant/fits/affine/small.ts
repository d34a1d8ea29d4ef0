/** Q4_1 and Q5_1 with importance: the fit of a block is the whole of it, its values included. */
import type { Weighting } from '../../block.js'
import { f32ToF16 } from '../../float.js'
import { weigh } from '../importance.js'
import { fitAffine, weightedSearch } from './search.js'

/** A block of 32 as its `pack` takes it: f16 patterns of scale and min, and the quantized values. */
export interface FittedBlock {
  readonly d: number
  readonly m: number
  readonly values: Uint8Array
}

const weights = new Float32Array(32)
const values = new Uint8Array(32)

/**
 * Fits 32 finite values with importance.
 * @param maxValue 15 for Q4_1, 31 for Q5_1
 */
export function fitAffine32(x: Float32Array, maxValue: 15 | 31, { importance, rowMeanSquare }: Weighting): FittedBlock {
  weigh(x, importance, rowMeanSquare, weights)
  const { scale, min } = fitAffine(x, weights, SEARCHES[maxValue], values)
  return { d: f32ToF16(scale), m: f32ToF16(-min), values }
}

const SEARCHES = { 15: weightedSearch(15), 31: weightedSearch(31) } as const
