/** Q4_0, Q5_0 and Q8_0, blocks of 32 with a scale alone, as llama.cpp's `ggml_quantize_chunk` fits them. */
import type { FitBlock } from '../../block.js'
import { packQ4_0Block } from '../../blocks/q4_0.js'
import { packQ5_0Block } from '../../blocks/q5_0.js'
import { packQ8_0Block } from '../../blocks/q8_0.js'
import { f32ToF16 } from '../../float.js'
import { firstOfLargestMagnitude } from '../signed/search.js'
import { fitWeightedBlock } from '../signed/small.js'

const { fround } = Math

/** The largest f32 below one half: adding it and cutting off rounds half away from zero. */
const BELOW_HALF = fround(0.49999997)
const MOST_BYTE = 127

const codes = new Uint8Array(32)

/** Fits a block of Q4_0: codes from 0 to 15, the value 0 at 8. */
export const fitQ4_0Block: FitBlock = (x, target, start, weighting) => {
  const d = weighting ? fitWeightedBlock(x, weighting, 8, codes) : fitTop(x, 8, codes)
  packQ4_0Block({ d, values: codes }, target, start)
}

/** Fits a block of Q5_0: codes from 0 to 31, the value 0 at 16. */
export const fitQ5_0Block: FitBlock = (x, target, start, weighting) => {
  const d = weighting ? fitWeightedBlock(x, weighting, 16, codes) : fitTop(x, 16, codes)
  packQ5_0Block({ d, values: codes }, target, start)
}

/** Fits a block of Q8_0: bytes from -127 to 127, the one of the largest magnitude at an end. No importance matrix counts. */
export const fitQ8_0Block: FitBlock = (x, target, start) => {
  const d = fround(Math.abs(firstOfLargestMagnitude(x)) / MOST_BYTE)
  const inverse = inverseOf(d)
  x.forEach((v, i) => {
    const multiple = fround(v * inverse)
    codes[i] = toByte(fround(multiple + (multiple < 0 ? -BELOW_HALF : BELOW_HALF)))
  })
  packQ8_0Block({ d: f32ToF16(d), values: codes }, target, start)
}

/**
 * Codes whose lowest stands for the value of the largest magnitude, so that its sign decides that of the scale.
 * @returns the scale, as an f16 pattern; -0 where all values are 0
 */
function fitTop(x: Float32Array, zero: number, target: Uint8Array): number {
  const d = fround(firstOfLargestMagnitude(x) / -zero)
  const inverse = inverseOf(d)
  // The value opposite to the largest would get one code more than there are.
  x.forEach((v, i) => (target[i] = Math.min(2 * zero - 1, toByte(fround(fround(v * inverse) + (zero + 0.5))))))
  return f32ToF16(d)
}

/** A rounded reciprocal: values are multiplied by it, not divided. */
export function inverseOf(d: number): number {
  return d === 0 ? 0 : fround(1 / d)
}

/** A number cut toward zero, its low 8 bits: 0 for infinities and NaN, which come of scales below 2^-128. */
export function toByte(v: number): number {
  return v & 0xff
}
