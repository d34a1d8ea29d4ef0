/**
 * The seam between the streams and the arithmetic: fits runs of blocks in a small memory of its own. Two implementations
 * with the same bytes: the scalar one in `scalar.ts`, for reading and testing, and the SIMD one in `simd.ts`.
 */
import type { BlockDType } from './block.js'

/**
 * How scales are fitted: `search` gives llama.cpp's bytes, `minmax` those of `apr quantize`; `refined` leaves less error than
 * either, in Q2_K to Q6_K, and is `search` in other block types.
 */
export type Fit = 'search' | 'minmax' | 'refined'

/** How values become blocks. */
export interface Fitting {
  readonly dtype: BlockDType
  readonly fit: Fit
  /** Whether the kernel's importance counts. Default false. */
  readonly isWeighted?: boolean
}

/** Floats of which models are made, and between which tensors are converted. */
export type WeightDType = 'F32' | 'F16' | 'BF16'

export interface Kernel {
  /** Takes the values: a multiple of 256. */
  readonly input: Float32Array
  /** Takes one number a value of `input`, for fits with importance. */
  readonly importance: Float32Array
  /** Takes for every 32 values of `input` the mean square of the whole row, for fits with importance. */
  readonly rowMeanSquares: Float32Array
  /** Holds the result: as many bytes a block as its dtype takes. */
  readonly output: Uint8Array
  /** Widens `count` F16 or BF16 numbers from `bytes` into `input`, starting at element `start`. Exact. */
  widen(dtype: 'F16' | 'BF16', bytes: Uint8Array, start: number, count: number): void
  /** Fits the first `blocks` blocks of `input`. Returns false when one of their values is not finite. */
  fit(fitting: Fitting, blocks: number): boolean
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

/** Bytes that 256 values become at the most: those of Q8_0. */
export const MAX_OUTPUT_BYTES = 272
