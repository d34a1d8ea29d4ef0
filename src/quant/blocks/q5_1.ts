/**
 * The Q5_1 block: 32 elements in 24 bytes. 0-1 the f16 scale, 2-3 the f16 min, 4-7 the fifth bits of the values, 8-23 their
 * low 4 bits. Packing, and decoding.
 */
import { f16At } from '../float.js'
import { packHalf, packNibbles } from './q4_0.js'
import type { OffsetBlock } from './q4_1.js'
import { fifthBitsAt, packFifthBits } from './q5_0.js'

const MIN_OFFSET = 2
const HIGH_OFFSET = 4
const VALUES_OFFSET = 8

/** Writes a block at `start` of `target`. */
export function packQ5_1Block({ d, m, values }: OffsetBlock, target: Uint8Array, start: number): void {
  packHalf(d, target, start)
  packHalf(m, target, start + MIN_OFFSET)
  packFifthBits(values, target, start + HIGH_OFFSET)
  packNibbles(values, target, start + VALUES_OFFSET)
}

/** Decodes the block at `start`: `q * d + m`, every step rounded to f32. */
export function decodeQ5_1Block(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const { fround } = Math
  const d = f16At(bytes, start)
  const m = f16At(bytes, start + MIN_OFFSET)
  const high = fifthBitsAt(bytes, start + HIGH_OFFSET)
  for (let l = 0; l < 16; l++) {
    const pair = bytes[start + VALUES_OFFSET + l] ?? 0
    target[position + l] = fround(((pair & 15) | (((high >>> l) & 1) << 4)) * d) + m
    target[position + 16 + l] = fround(((pair >> 4) | (((high >>> (16 + l)) & 1) << 4)) * d) + m
  }
}
