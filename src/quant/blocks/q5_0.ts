/**
 * The Q5_0 block: 32 elements in 22 bytes. 0-1 the f16 scale, 2-5 the fifth bits of the values, 6-21 their low 4 bits.
 * Packing, and decoding.
 */
import { f16At } from '../float.js'
import { packHalf, packNibbles, type ScaledBlock } from './q4_0.js'

const HIGH_OFFSET = 2
const VALUES_OFFSET = 6
/** Values are stored from 0 up. */
const ZERO = 16

/** Writes a block at `start` of `target`. */
export function packQ5_0Block({ d, values }: ScaledBlock, target: Uint8Array, start: number): void {
  packHalf(d, target, start)
  packFifthBits(values, target, start + HIGH_OFFSET)
  packNibbles(values, target, start + VALUES_OFFSET)
}

/** Decodes the block at `start`: `(q - 16) * d`. */
export function decodeQ5_0Block(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const d = f16At(bytes, start)
  const high = fifthBitsAt(bytes, start + HIGH_OFFSET)
  for (let l = 0; l < 16; l++) {
    const pair = bytes[start + VALUES_OFFSET + l] ?? 0
    target[position + l] = (((pair & 15) | (((high >>> l) & 1) << 4)) - ZERO) * d
    target[position + 16 + l] = (((pair >> 4) | (((high >>> (16 + l)) & 1) << 4)) - ZERO) * d
  }
}

/** Writes the fifth bits of 32 values: bit i of 4 bytes, the lowest first, is that of value i. */
export function packFifthBits(values: ArrayLike<number>, target: Uint8Array, start: number): void {
  for (let byte = 0; byte < 4; byte++) {
    let bits = 0
    for (let bit = 0; bit < 8; bit++) bits |= (((values[8 * byte + bit] ?? 0) >> 4) & 1) << bit
    target[start + byte] = bits
  }
}

/** The fifth bits of 32 values, that of value i at bit i. */
export function fifthBitsAt(bytes: Uint8Array, start: number): number {
  const at = (index: number): number => bytes[start + index] ?? 0
  return at(0) | (at(1) << 8) | (at(2) << 16) | (at(3) << 24)
}
