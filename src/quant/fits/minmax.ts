/**
 * Fit "minmax": the bytes of `apr quantize --scheme q4k` (crate `aprender-quant`, `quantize_q4_k`). Every operation is
 * one IEEE single-precision operation, in the order written. Ten times faster than "search", and worse.
 *
 * This is the readable reference; the SIMD kernel is tested against it.
 */
import { f32ToF16 } from '../float.js'
import { MAX_SCALE, MAX_VALUE, packQ4K, SUB_BLOCK_ELEMENTS, SUB_BLOCKS } from '../blocks/q4k.js'

const { fround } = Math

/** Scales at or below this are taken as this: near the smallest normal half. */
const MIN_SCALE = fround(6.1e-5)
/** Decoded scales at or below this give values of 0. */
const MIN_STEP = fround(1e-10)
/** The largest f32 below one half: adding it and cutting off rounds half away from zero. */
const BELOW_HALF = fround(0.49999997)

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
export function minmaxBlock(x: Float32Array, target: Uint8Array, start: number): void {
  let maxScale = 0
  let maxMin = 0
  for (let j = 0; j < SUB_BLOCKS; j++) {
    let min = Infinity
    let max = -Infinity
    for (let i = j * SUB_BLOCK_ELEMENTS; i < (j + 1) * SUB_BLOCK_ELEMENTS; i++) {
      const v = x[i] ?? 0
      if (v < min) min = v
      if (v > max) max = v
    }
    const range = fround(max - min)
    const scale = range > MIN_SCALE ? fround(range / MAX_VALUE) : MIN_SCALE
    const offset = Math.max(-min, 0)
    scales[j] = scale
    mins[j] = offset
    if (scale > maxScale) maxScale = scale
    if (offset > maxMin) maxMin = offset
  }

  const d = maxScale > MIN_SCALE ? fround(maxScale / MAX_SCALE) : MIN_SCALE
  const dmin = maxMin > MIN_SCALE ? fround(maxMin / MAX_SCALE) : MIN_SCALE
  for (let j = 0; j < SUB_BLOCKS; j++) {
    scales6[j] = Math.min(MAX_SCALE, round(fround((scales[j] ?? 0) / d)))
    mins6[j] = Math.min(MAX_SCALE, round(fround((mins[j] ?? 0) / dmin)))
    const step = fround(d * (scales6[j] ?? 0))
    const low = fround(dmin * (mins6[j] ?? 0))
    for (let i = j * SUB_BLOCK_ELEMENTS; i < (j + 1) * SUB_BLOCK_ELEMENTS; i++) {
      const q = step > MIN_STEP ? round(fround(fround((x[i] ?? 0) + low) / step)) : 0
      levels[i] = Math.max(0, Math.min(MAX_VALUE, q))
    }
  }
  packQ4K({ d: f32ToF16(d), dmin: f32ToF16(dmin), scales: scales6, mins: mins6, values: levels }, target, start)
}

/** Half away from zero, for v >= 0. */
function round(v: number): number {
  return Math.floor(fround(v + BELOW_HALF))
}
