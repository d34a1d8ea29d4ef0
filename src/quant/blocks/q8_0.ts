/** The Q8_0 block: 32 elements in 34 bytes. 0-1 the f16 scale, 2-33 signed values of 8 bits. Packing, and decoding. */
import { f16At } from '../float.js'
import { packHalf, type ScaledBlock } from './q4_0.js'

const VALUES_OFFSET = 2

/** Writes a block at `start` of `target`. */
export function packQ8_0Block({ d, values }: ScaledBlock, target: Uint8Array, start: number): void {
  packHalf(d, target, start)
  for (let i = 0; i < 32; i++) target[start + VALUES_OFFSET + i] = values[i] ?? 0
}

/** Decodes the block at `start`: `q * d`. */
export function decodeQ8_0Block(bytes: Uint8Array, start: number, target: Float32Array, position: number): void {
  const d = f16At(bytes, start)
  for (let i = 0; i < 32; i++) {
    const q = ((bytes[start + VALUES_OFFSET + i] ?? 0) << 24) >> 24
    target[position + i] = q * d
  }
}
