/**
 * The Q5_K super-block: 256 elements in 176 bytes. 0-15 d, dmin and the packed scales, as Q4_K has them; 16-47 the fifth
 * bits: bit j of byte l belongs to value l of sub-block j; 48-175 the low 4 bits, as Q4_K's values.
 */
import { f16At } from '../float.js'
import { packHeader, unpackScale, type AffineBlock } from './six-bit-scales.js'

const SUB_BLOCKS = 8
const SUB_BLOCK_ELEMENTS = 32
const HIGH_OFFSET = 16
const VALUES_OFFSET = 48

/** Writes a super-block at `start` of `target`. */
export function packQ5K(block: AffineBlock, target: Uint8Array, start: number): void {
  packHeader(block, target, start)
  const { values } = block
  target.fill(0, start + HIGH_OFFSET, start + VALUES_OFFSET)
  for (let i = 0; i < SUB_BLOCKS * SUB_BLOCK_ELEMENTS; i += 2 * SUB_BLOCK_ELEMENTS) {
    for (let l = 0; l < SUB_BLOCK_ELEMENTS; l++) {
      const low = values[i + l] ?? 0
      const high = values[i + SUB_BLOCK_ELEMENTS + l] ?? 0
      const fifth = start + HIGH_OFFSET + l
      target[fifth] = (target[fifth] ?? 0) | (((low >> 4) | ((high >> 4) << 1)) << (i / SUB_BLOCK_ELEMENTS))
      target[start + VALUES_OFFSET + i / 2 + l] = (low & 15) | ((high & 15) << 4)
    }
  }
}

/** Decodes the super-block at `start`: `(d * scale) * q - (dmin * min)`, every step rounded to f32. */
export function decodeQ5KBlock(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const { fround } = Math
  const d = f16At(bytes, start)
  const dmin = f16At(bytes, start + 2)
  let out = position
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const { scale, min } = unpackScale(bytes, start, j)
    const step = fround(d * scale)
    const low = fround(dmin * min)
    const values = start + VALUES_OFFSET + (j >> 1) * SUB_BLOCK_ELEMENTS
    for (let l = 0; l < SUB_BLOCK_ELEMENTS; l++) {
      const nibble = ((bytes[values + l] ?? 0) >> ((j & 1) * 4)) & 15
      const fifth = ((bytes[start + HIGH_OFFSET + l] ?? 0) >> j) & 1
      target[out++] = fround(fround(step * (nibble | (fifth << 4))) - low)
    }
  }
}
