/**
 * The Q6_K super-block: 256 elements in 210 bytes. 0-127 the low 4 bits of the values, 128-191 their upper 2 bits,
 * 192-207 a scale of 8 bits for every 16 elements, 208-209 the f16 scale of the scales. Packing, and decoding.
 */
import { DTYPES } from '../../model/dtypes.js'
import { f16At } from '../float.js'

export const Q6K_BLOCK_BYTES = DTYPES.Q6_K.blockBytes

const HIGH_OFFSET = 128
const SCALES_OFFSET = 192
const SCALE_OFFSET = 208
/** Values are stored from 0 up. */
const ZERO = 32

/** What a super-block holds, unpacked. */
export interface Q6KBlock {
  /** f16 bit pattern of the scale of the scales. */
  readonly d: number
  /** 16 scales of 8 bits. */
  readonly scales: ArrayLike<number>
  /** 256 values of 6 bits. */
  readonly values: ArrayLike<number>
}

/** Writes a super-block at `start` of `target`. */
export function packQ6KBlock({ d, scales, values }: Q6KBlock, target: Uint8Array, start: number): void {
  for (let half = 0; half < 2; half++) {
    for (let l = 0; l < 32; l++) {
      const at = (run: number): number => values[half * 128 + run * 32 + l] ?? 0
      const low = start + half * 64 + l
      target[low] = (at(0) & 15) | ((at(2) & 15) << 4)
      target[low + 32] = (at(1) & 15) | ((at(3) & 15) << 4)
      target[start + HIGH_OFFSET + half * 32 + l] =
        (at(0) >> 4) | ((at(1) >> 4) << 2) | ((at(2) >> 4) << 4) | ((at(3) >> 4) << 6)
    }
  }
  for (let j = 0; j < 16; j++) target[start + SCALES_OFFSET + j] = scales[j] ?? 0
  target[start + SCALE_OFFSET] = d & 0xff
  target[start + SCALE_OFFSET + 1] = d >> 8
}

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
