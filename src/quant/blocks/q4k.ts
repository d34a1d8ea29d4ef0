/** The Q4_K super-block: 256 elements in 144 bytes. Packing, and decoding. */
import { DTYPES } from '../../model/dtypes.js'
import { f16At } from '../float.js'

export const SUB_BLOCKS = 8
export const SUB_BLOCK_ELEMENTS = 32
export const Q4K_BLOCK_BYTES = DTYPES.Q4_K.blockBytes
/** Largest 6-bit scale or min, and largest 4-bit value. */
export const MAX_SCALE = 63
export const MAX_VALUE = 15

const SCALES_OFFSET = 4
const VALUES_OFFSET = 16

/** What a super-block holds, unpacked. */
export interface Q4KBlock {
  /** f16 bit patterns of the scale of the scales and the scale of the mins. */
  readonly d: number
  readonly dmin: number
  /** 8 scales and 8 mins of 6 bits. */
  readonly scales: ArrayLike<number>
  readonly mins: ArrayLike<number>
  /** 256 values of 4 bits. */
  readonly values: ArrayLike<number>
}

/** Writes a super-block at `start` of `target`. */
export function packBlock(block: Q4KBlock, target: Uint8Array, start: number): void {
  const { d, dmin, scales, mins, values } = block
  target[start] = d & 0xff
  target[start + 1] = d >> 8
  target[start + 2] = dmin & 0xff
  target[start + 3] = dmin >> 8

  // Sub-blocks 0-3: six bits each; 4-7: their low nibbles here, their upper two bits above those of 0-3.
  const packed = start + SCALES_OFFSET
  for (let j = 0; j < 4; j++) {
    const scale = scales[j + 4] ?? 0
    const min = mins[j + 4] ?? 0
    target[packed + j] = (scales[j] ?? 0) | ((scale >> 4) << 6)
    target[packed + j + 4] = (mins[j] ?? 0) | ((min >> 4) << 6)
    target[packed + j + 8] = (scale & 15) | ((min & 15) << 4)
  }

  // Two sub-blocks share 32 bytes: the first in the low nibbles, the second in the high ones.
  for (let pair = 0; pair < SUB_BLOCKS / 2; pair++) {
    for (let l = 0; l < SUB_BLOCK_ELEMENTS; l++) {
      const low = values[pair * 64 + l] ?? 0
      const high = values[pair * 64 + 32 + l] ?? 0
      target[start + VALUES_OFFSET + pair * 32 + l] = low | (high << 4)
    }
  }
}

/** Scale and min of sub-block `j` of the super-block at `start`, 6 bits each. */
function unpackScale(bytes: Uint8Array, start: number, j: number): { scale: number; min: number } {
  const packed = start + SCALES_OFFSET
  const at = (index: number): number => bytes[packed + index] ?? 0
  if (j < 4) return { scale: at(j) & 63, min: at(j + 4) & 63 }
  return {
    scale: (at(j + 4) & 15) | ((at(j - 4) >> 6) << 4),
    min: (at(j + 4) >> 4) | ((at(j) >> 6) << 4),
  }
}

/** Decodes the super-block at `start`: `(d * scale) * q - (dmin * min)`, every step rounded to f32. */
export function decodeQ4KBlock(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const { fround } = Math
  const d = f16At(bytes, start)
  const dmin = f16At(bytes, start + 2)
  let out = position
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const { scale, min } = unpackScale(bytes, start, j)
    const step = fround(d * scale)
    const low = fround(dmin * min)
    const shift = (j & 1) * 4
    for (let l = 0; l < SUB_BLOCK_ELEMENTS; l++) {
      const q = ((bytes[start + VALUES_OFFSET + (j >> 1) * 32 + l] ?? 0) >> shift) & 15
      target[out++] = fround(fround(step * q) - low)
    }
  }
}
