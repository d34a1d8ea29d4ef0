/**
 * The Q4_0 block: 32 elements in 18 bytes. 0-1 the f16 scale, 2-17 the values of 4 bits. Packing, and decoding; and what the
 * blocks of 32 share: the low nibbles of 16 bytes hold values 0-15, the high ones values 16-31.
 */
import { f16At } from '../float.js'

const VALUES_OFFSET = 2
/** Values are stored from 0 up. */
const ZERO = 8

/** What a block with a scale alone holds, unpacked. */
export interface ScaledBlock {
  /** f16 bit pattern of the scale. */
  readonly d: number
  /** 32 values, as they are stored. */
  readonly values: ArrayLike<number>
}

/** Writes a block at `start` of `target`. */
export function packQ4_0Block({ d, values }: ScaledBlock, target: Uint8Array, start: number): void {
  packHalf(d, target, start)
  packNibbles(values, target, start + VALUES_OFFSET)
}

/** Decodes the block at `start`: `(q - 8) * d`. */
export function decodeQ4_0Block(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const d = f16At(bytes, start)
  for (let l = 0; l < 16; l++) {
    const pair = bytes[start + VALUES_OFFSET + l] ?? 0
    target[position + l] = ((pair & 15) - ZERO) * d
    target[position + 16 + l] = ((pair >> 4) - ZERO) * d
  }
}

/** Decodes the APR_Q4 block at `start`: as Q4_0, but that the two values of a byte are neighbours. */
export function decodeAprQ4Block(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const d = f16At(bytes, start)
  for (let l = 0; l < 16; l++) {
    const pair = bytes[start + VALUES_OFFSET + l] ?? 0
    target[position + 2 * l] = ((pair & 15) - ZERO) * d
    target[position + 2 * l + 1] = ((pair >> 4) - ZERO) * d
  }
}

/** Writes an f16 bit pattern. */
export function packHalf(pattern: number, target: Uint8Array, start: number): void {
  target[start] = pattern & 0xff
  target[start + 1] = pattern >> 8
}

/** Writes the low 4 bits of 32 values. */
export function packNibbles(values: ArrayLike<number>, target: Uint8Array, start: number): void {
  for (let l = 0; l < 16; l++) target[start + l] = ((values[l] ?? 0) & 15) | (((values[16 + l] ?? 0) & 15) << 4)
}
