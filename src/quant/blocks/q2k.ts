/**
 * The Q2_K super-block: 256 elements in 84 bytes. 0-15 a byte for every 16 elements, the scale low, the min high; 16-79
 * the values: those of elements l, l + 32, l + 64 and l + 96 of a half share byte l of it, from the low bits up; 80-81 d,
 * 82-83 dmin.
 */
import { f16At } from '../float.js'
import type { AffineBlock, UnpackedScale } from './six-bit-scales.js'

const SUB_BLOCKS = 16
const SUB_BLOCK_ELEMENTS = 16
const VALUES_OFFSET = 16
const D_OFFSET = 80

/** Where element `i` stands: its byte, and its lowest bit. */
function placeOf(i: number): { byte: number; shift: number } {
  return { byte: VALUES_OFFSET + (i >> 7) * 32 + (i & 31), shift: ((i >> 5) & 3) * 2 }
}

/** Writes a super-block at `start` of `target`. Of a scale above 15 all bits are written, over the min's. */
export function packQ2K({ d, dmin, scales, mins, values }: AffineBlock, target: Uint8Array, start: number): void {
  for (let j = 0; j < SUB_BLOCKS; j++) target[start + j] = (scales[j] ?? 0) | ((mins[j] ?? 0) << 4)
  target.fill(0, start + VALUES_OFFSET, start + D_OFFSET)
  for (let i = 0; i < SUB_BLOCKS * SUB_BLOCK_ELEMENTS; i++) {
    const { byte, shift } = placeOf(i)
    target[start + byte] = (target[start + byte] ?? 0) | ((values[i] ?? 0) << shift)
  }
  target[start + D_OFFSET] = d & 0xff
  target[start + D_OFFSET + 1] = d >> 8
  target[start + D_OFFSET + 2] = dmin & 0xff
  target[start + D_OFFSET + 3] = dmin >> 8
}

/** Scale and min of sub-block `j` of the super-block at `start`, 4 bits each. */
export function unpackQ2KScale(bytes: Uint8Array, start: number, j: number): UnpackedScale {
  const byte = bytes[start + j] ?? 0
  return { scale: byte & 15, min: byte >> 4 }
}

/** Decodes the super-block at `start`: `(d * scale) * q - (dmin * min)`, every step rounded to f32. */
export function decodeQ2KBlock(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const { fround } = Math
  const d = f16At(bytes, start + D_OFFSET)
  const dmin = f16At(bytes, start + D_OFFSET + 2)
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const { scale, min } = unpackQ2KScale(bytes, start, j)
    const step = fround(d * scale)
    const low = fround(dmin * min)
    const { byte, shift } = placeOf(j * SUB_BLOCK_ELEMENTS)
    for (let l = 0; l < SUB_BLOCK_ELEMENTS; l++) {
      const q = ((bytes[start + byte + l] ?? 0) >> shift) & 3
      target[position + j * SUB_BLOCK_ELEMENTS + l] = fround(fround(step * q) - low)
    }
  }
}
