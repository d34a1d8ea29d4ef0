/** Q4_1 and Q5_1, blocks of 32 with scale and min, as llama.cpp's `ggml_quantize_chunk` fits them. */
import type { FitBlock } from '../../block.js'
import { packQ4_1Block, type OffsetBlock } from '../../blocks/q4_1.js'
import { packQ5_1Block } from '../../blocks/q5_1.js'
import { f32ToF16 } from '../../float.js'
import { fitAffine32 } from '../affine/small.js'
import { inverseOf, toByte } from './signed.js'

const { fround } = Math

const codes = new Uint8Array(32)

/** Fits a block of Q4_1: codes from 0 to 15. */
export const fitQ4_1Block: FitBlock = (x, target, start, weighting) => {
  packQ4_1Block(weighting ? fitAffine32(x, 15, weighting) : fitRange(x, 15), target, start)
}

/** Fits a block of Q5_1: codes from 0 to 31. */
export const fitQ5_1Block: FitBlock = (x, target, start, weighting) => {
  packQ5_1Block(weighting ? fitAffine32(x, 31, weighting) : fitRange(x, 31), target, start)
}

/** Codes from 0 for the least value to `most` for the greatest. */
function fitRange(x: Float32Array, most: number): OffsetBlock {
  // The first of equal values: 0 and -0 are, and the min keeps the sign.
  let min = Infinity
  let max = -Infinity
  for (const v of x) {
    if (v < min) min = v
    if (v > max) max = v
  }
  const d = fround(fround(max - min) / most)
  const inverse = inverseOf(d)
  x.forEach((v, i) => (codes[i] = toByte(fround(fround(fround(v - min) * inverse) + 0.5))))
  return { d: f32ToF16(d), m: f32ToF16(min), values: codes }
}
