/**
 * The seam between the streams and the arithmetic: fits runs of super-blocks in a small memory of its own. Two
 * implementations with the same bytes: the scalar one here, for reading and testing, and the SIMD one in `simd.ts`.
 */
import { SUPER_BLOCK_ELEMENTS } from '../model/dtypes.js'
import { bf16ToF32, f16ToF32, f32ToBF16, f32ToF16 } from './float.js'
import { minmaxBlock } from './minmax.js'
import { Q4K_BLOCK_BYTES } from './blocks/q4k.js'
import { searchBlock } from './search.js'

/** How scales are fitted: `search` gives llama.cpp's bytes, `minmax` those of `apr quantize`. */
export type Fit = 'search' | 'minmax'

/** Floats of which models are made, and between which tensors are converted. */
export type WeightDType = 'F32' | 'F16' | 'BF16'

export interface Kernel {
  /** Super-blocks that one call of `fit` takes at the most. */
  readonly maxBlocks: number
  /** Takes the values of `maxBlocks` super-blocks. */
  readonly input: Float32Array
  /** Holds the result: 144 bytes a super-block. */
  readonly output: Uint8Array
  /** Widens `count` F16 or BF16 numbers from `bytes` into `input`, starting at element `start`. Exact. */
  widen(dtype: 'F16' | 'BF16', bytes: Uint8Array, start: number, count: number): void
  /** Fits the first `blocks` super-blocks of `input`. Returns false when one of their values is not finite. */
  fit(fit: Fit, blocks: number): boolean
  /** Adds a number to each of the first `count` values of `input`, in f32. */
  add(value: number, count: number): void
  /**
   * Rounds the first `count` values of `input` to nearest, ties to even.
   * @param target takes their bytes
   * @returns index of the first value that is NaN or infinite, or becomes so; -1 when none is, and `target` is filled
   */
  narrow(dtype: WeightDType, count: number, target: Uint8Array): number
  /** Index of the first of `count` numbers that is NaN or infinite, or -1; `count` as `input` takes at the most. */
  firstNotFinite(dtype: WeightDType, bytes: Uint8Array, count: number): number
}

/** Bytes of a number. */
export const WEIGHT_BYTES = { F32: 4, F16: 2, BF16: 2 } as const

/** Pattern of infinity in 16 bits; patterns above it are NaN. */
export const INFINITY_16 = { F16: 0x7c00, BF16: 0x7f80 } as const

/** The readable reference. */
export function createScalarKernel(maxBlocks = 64): Kernel {
  const input = new Float32Array(maxBlocks * SUPER_BLOCK_ELEMENTS)
  const output = new Uint8Array(maxBlocks * Q4K_BLOCK_BYTES)
  return {
    maxBlocks,
    input,
    output,
    widen(dtype, bytes, start, count) {
      const toF32 = dtype === 'F16' ? f16ToF32 : bf16ToF32
      for (let i = 0; i < count; i++) {
        input[start + i] = toF32((bytes[2 * i] ?? 0) | ((bytes[2 * i + 1] ?? 0) << 8))
      }
    },
    fit(fit, blocks) {
      const fitBlock = fit === 'search' ? searchBlock : minmaxBlock
      for (let block = 0; block < blocks; block++) {
        const x = input.subarray(block * SUPER_BLOCK_ELEMENTS, (block + 1) * SUPER_BLOCK_ELEMENTS)
        if (!x.every(Number.isFinite)) return false
        fitBlock(x, output, block * Q4K_BLOCK_BYTES)
      }
      return true
    },
    add(value, count) {
      for (let i = 0; i < count; i++) input[i] = (input[i] ?? 0) + value
    },
    narrow(dtype, count, target) {
      const view = new DataView(target.buffer, target.byteOffset, target.byteLength)
      for (let i = 0; i < count; i++) {
        const value = input[i] ?? 0
        const pattern = dtype === 'F32' ? 0 : dtype === 'F16' ? f32ToF16(value) : f32ToBF16(value)
        const isInfinite = dtype !== 'F32' && (pattern & 0x7fff) >= INFINITY_16[dtype]
        if (!Number.isFinite(value) || isInfinite) return i
        if (dtype === 'F32') view.setFloat32(i * 4, value, true)
        else view.setUint16(i * 2, pattern, true)
      }
      return -1
    },
    firstNotFinite(dtype, bytes, count) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      for (let i = 0; i < count; i++) {
        const isFinite =
          dtype === 'F32'
            ? Number.isFinite(view.getFloat32(i * 4, true))
            : (view.getUint16(i * 2, true) & 0x7fff) < INFINITY_16[dtype]
        if (!isFinite) return i
      }
      return -1
    },
  }
}
