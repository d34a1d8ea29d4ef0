/**
 * The blocks whose 4-bit codes stand for 16 uneven levels, closer together around 0. Packing, and decoding.
 *
 * IQ4_NL, 32 elements in 18 bytes: 0-1 the f16 scale, 2-17 the codes. IQ4_XS, 256 elements in 136 bytes: 0-1 the f16 scale
 * of the scales, 2-3 the upper 2 bits of 8 scales of 6 bits, 4-7 their low 4 bits, 8-135 the codes, 16 bytes for every 32.
 */
import { f16At } from '../float.js'
import { packHalf, packNibbles, type ScaledBlock } from './q4_0.js'

/** What the codes stand for, as multiples of the scale. */
export const LEVELS = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

const NL_CODES_OFFSET = 2
const HIGH_OFFSET = 2
const LOW_OFFSET = 4
const XS_CODES_OFFSET = 8
const SUB_BLOCKS = 8
/** Scales are stored from 0 up. */
const SCALE_ZERO = 32

/** What a super-block holds, unpacked. */
export interface IQ4XSBlock {
  /** f16 bit pattern of the scale of the scales. */
  readonly d: number
  /** 8 scales of 6 bits, and 256 codes of 4 bits, as they are stored. */
  readonly scales: ArrayLike<number>
  readonly codes: Uint8Array
}

/** Writes a block at `start` of `target`. */
export function packIQ4NLBlock({ d, values }: ScaledBlock, target: Uint8Array, start: number): void {
  packHalf(d, target, start)
  packNibbles(values, target, start + NL_CODES_OFFSET)
}

/** Decodes the block at `start`: `d * level`. */
export function decodeIQ4NLBlock(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  decodeCodes(bytes, start + NL_CODES_OFFSET, f16At(bytes, start), target, position)
}

/** Writes a super-block at `start` of `target`. */
export function packIQ4XSBlock({ d, scales, codes }: IQ4XSBlock, target: Uint8Array, start: number): void {
  packHalf(d, target, start)
  target.fill(0, start + HIGH_OFFSET, start + XS_CODES_OFFSET)
  const add = (offset: number, bits: number): void => {
    target[start + offset] = (target[start + offset] ?? 0) | bits
  }
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const scale = scales[j] ?? 0
    add(HIGH_OFFSET + (j >> 2), (scale >> 4) << (2 * (j & 3)))
    add(LOW_OFFSET + (j >> 1), (scale & 15) << (4 * (j & 1)))
    packNibbles(codes.subarray(32 * j, 32 * (j + 1)), target, start + XS_CODES_OFFSET + 16 * j)
  }
}

/** Decodes the super-block at `start`: `(d * (scale - 32)) * level`, every step rounded to f32. */
export function decodeIQ4XSBlock(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const d = f16At(bytes, start)
  const at = (offset: number): number => bytes[start + offset] ?? 0
  for (let j = 0; j < SUB_BLOCKS; j++) {
    const high = (at(HIGH_OFFSET + (j >> 2)) >> (2 * (j & 3))) & 3
    const low = (at(LOW_OFFSET + (j >> 1)) >> (4 * (j & 1))) & 15
    const step = Math.fround(d * ((low | (high << 4)) - SCALE_ZERO))
    decodeCodes(bytes, start + XS_CODES_OFFSET + 16 * j, step, target, position + 32 * j)
  }
}

function decodeCodes(bytes: Uint8Array, start: number, step: number, target: Float32Array, position: number): void {
  for (let l = 0; l < 16; l++) {
    const pair = bytes[start + l] ?? 0
    target[position + l] = step * (LEVELS[pair & 15] ?? 0)
    target[position + 16 + l] = step * (LEVELS[pair >> 4] ?? 0)
  }
}
