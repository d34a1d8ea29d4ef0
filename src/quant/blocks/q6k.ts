/**
 * The Q6_K super-block: 256 elements in 210 bytes. 0-127 the low 4 bits of the values, 128-191 their upper 2 bits,
 * 192-207 a scale of 8 bits for every 16 elements, 208-209 the f16 scale of the scales.
 */
import { f16At } from '../float.js'

const HIGH_OFFSET = 128
const SCALES_OFFSET = 192
const SCALE_OFFSET = 208
/** Values are stored from 0 up. */
const ZERO = 32

/** Decodes the super-block at `start`: `(d * scale) * q`, every step rounded to f32. */
export function decodeQ6KBlock(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const { fround } = Math
  const d = f16At(bytes, start + SCALE_OFFSET)
  const at = (offset: number): number => bytes[start + offset] ?? 0
  for (let i = 0; i < 256; i++) {
    // Two halves of 128; in each four runs of 32, which share bytes: two a byte of low bits, four a byte of high ones.
    const half = i >> 7
    const run = (i >> 5) & 3
    const low = (at(half * 64 + (run & 1) * 32 + (i & 31)) >> ((run >> 1) * 4)) & 15
    const high = (at(HIGH_OFFSET + half * 32 + (i & 31)) >> (run * 2)) & 3
    const scale = (at(SCALES_OFFSET + (i >> 4)) << 24) >> 24
    target[position + i] = fround(fround(d * scale) * ((low | (high << 4)) - ZERO))
  }
}
