/** The Q4_K super-block: 256 elements in 144 bytes. 0-15 d, dmin and the packed scales; 16-143 the values of 4 bits. */
import { DTYPES } from '../../model/dtypes.js'
import { f16At } from '../float.js'
import { packHeader, unpackScale, type AffineBlock } from './six-bit-scales.js'

export const SUB_BLOCKS = 8
export const SUB_BLOCK_ELEMENTS = 32
export const Q4K_BLOCK_BYTES = DTYPES.Q4_K.blockBytes
/** Largest 6-bit scale or min, and largest 4-bit value. */
export const MAX_SCALE = 63
export const MAX_VALUE = 15

const VALUES_OFFSET = 16

/** Writes a super-block at `start` of `target`. */
export function packQ4K(block: AffineBlock, target: Uint8Array, start: number): void {
  packHeader(block, target, start)
  // Two sub-blocks share 32 bytes: the first in the low nibbles, the second in the high ones.
  const { values } = block
  for (let pair = 0; pair < SUB_BLOCKS / 2; pair++) {
    for (let l = 0; l < SUB_BLOCK_ELEMENTS; l++) {
      const low = values[pair * 64 + l] ?? 0
      const high = values[pair * 64 + 32 + l] ?? 0
      target[start + VALUES_OFFSET + pair * 32 + l] = low | (high << 4)
    }
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
