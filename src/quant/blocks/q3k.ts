/**
 * The Q3_K super-block: 256 elements in 110 bytes. 0-31 the high bit of the values, 32-95 their low 2 bits, 96-107 a scale
 * of 6 bits for every 16 elements, 108-109 the f16 scale of the scales. Packing, and decoding.
 */
import { f16At } from '../float.js'

const LOW_OFFSET = 32
const SCALES_OFFSET = 96
const SCALE_OFFSET = 108
/** Values and scales are stored from 0 up. */
const ZERO = 4
const SCALE_ZERO = 32

/** What a super-block holds, unpacked. */
export interface Q3KBlock {
  /** f16 bit pattern of the scale of the scales. */
  readonly d: number
  /** 16 scales of 6 bits, and 256 values of 3 bits, as they are stored. */
  readonly scales: ArrayLike<number>
  readonly values: ArrayLike<number>
}

/** Writes a super-block at `start` of `target`. */
export function packQ3KBlock({ d, scales, values }: Q3KBlock, target: Uint8Array, start: number): void {
  target.fill(0, start, start + SCALE_OFFSET)
  const add = (offset: number, bits: number): void => {
    target[start + offset] = (target[start + offset] ?? 0) | bits
  }
  for (let i = 0; i < 256; i++) {
    const value = values[i] ?? 0
    // Eight runs of 32 share the bytes of high bits, four runs those of low ones.
    add(i & 31, (value >> 2) << (i >> 5))
    add(LOW_OFFSET + 32 * (i >> 7) + (i & 31), (value & 3) << (2 * ((i >> 5) & 3)))
  }
  for (let j = 0; j < 16; j++) {
    const scale = scales[j] ?? 0
    add(SCALES_OFFSET + (j & 7), (scale & 15) << (4 * (j >> 3)))
    add(SCALES_OFFSET + 8 + (j & 3), (scale >> 4) << (2 * (j >> 2)))
  }
  target[start + SCALE_OFFSET] = d & 0xff
  target[start + SCALE_OFFSET + 1] = d >> 8
}

/** Decodes the super-block at `start`: `(d * (scale - 32)) * (q - 4)`, every step rounded to f32. */
export function decodeQ3KBlock(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const { fround } = Math
  const d = f16At(bytes, start + SCALE_OFFSET)
  const at = (offset: number): number => bytes[start + offset] ?? 0
  for (let j = 0; j < 16; j++) {
    const low = (at(SCALES_OFFSET + (j & 7)) >> (4 * (j >> 3))) & 15
    const high = (at(SCALES_OFFSET + 8 + (j & 3)) >> (2 * (j >> 2))) & 3
    const step = fround(d * ((low | (high << 4)) - SCALE_ZERO))
    for (let i = 16 * j; i < 16 * (j + 1); i++) {
      const highBit = (at(i & 31) >> (i >> 5)) & 1
      const lowBits = (at(LOW_OFFSET + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3
      target[position + i] = fround(step * ((lowBits | (highBit << 2)) - ZERO))
    }
  }
}
