/**
 * The Q4_1 block: 32 elements in 20 bytes. 0-1 the f16 scale, 2-3 the f16 min, 4-19 the values of 4 bits. Packing, and
 * decoding.
 */
import { f16At } from '../float.js'
import { packHalf, packNibbles, type ScaledBlock } from './q4_0.js'

const MIN_OFFSET = 2
const VALUES_OFFSET = 4

/** What a block with scale and min holds, unpacked. */
export interface OffsetBlock extends ScaledBlock {
  /** f16 bit pattern of the min. */
  readonly m: number
}

/** Writes a block at `start` of `target`. */
export function packQ4_1Block({ d, m, values }: OffsetBlock, target: Uint8Array, start: number): void {
  packHalf(d, target, start)
  packHalf(m, target, start + MIN_OFFSET)
  packNibbles(values, target, start + VALUES_OFFSET)
}

/** Decodes the block at `start`: `q * d + m`, every step rounded to f32. */
export function decodeQ4_1Block(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const { fround } = Math
  const d = f16At(bytes, start)
  const m = f16At(bytes, start + MIN_OFFSET)
  for (let l = 0; l < 16; l++) {
    const pair = bytes[start + VALUES_OFFSET + l] ?? 0
    target[position + l] = fround((pair & 15) * d) + m
    target[position + 16 + l] = fround((pair >> 4) * d) + m
  }
}
