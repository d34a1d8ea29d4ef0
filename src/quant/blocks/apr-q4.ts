/** The APR_Q4 block: 32 elements in 18 bytes. An f16 scale, then 16 bytes of two values each, the low nibble first. */
import { f16At } from '../float.js'

const BLOCK_ELEMENTS = 32
const VALUES_OFFSET = 2
/** Values are stored from 0 up. */
const ZERO = 8

/** Decodes the block at `start`: `(nibble - 8) * scale`. */
export function decodeAprQ4Block(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const scale = f16At(bytes, start)
  for (let i = 0; i < BLOCK_ELEMENTS; i += 2) {
    const pair = bytes[start + VALUES_OFFSET + (i >> 1)] ?? 0
    target[position + i] = ((pair & 15) - ZERO) * scale
    target[position + i + 1] = ((pair >> 4) - ZERO) * scale
  }
}
