/**
 * The seam between the streams and the arithmetic: fits runs of super-blocks in a small memory of its own. Two
 * implementations with the same bytes: the scalar one here, for reading and testing, and the SIMD one in `simd.ts`.
 */
import { SUPER_BLOCK_ELEMENTS } from '../model/dtypes.js'
import { bf16ToF32, f16ToF32 } from './float.js'
import { minmaxBlock } from './minmax.js'
import { Q4K_BLOCK_BYTES } from './blocks/q4k.js'
import { searchBlock } from './search.js'

/** How scales are fitted: `search` gives llama.cpp's bytes, `minmax` those of `apr quantize`. */
export type Fit = 'search' | 'minmax'

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
}

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
  }
}
