/** What a block type is made of: its dtype's name, and two functions on single blocks. */

/** Dtypes of blocks that values can be fitted to. */
export const BLOCK_DTYPES = [
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'Q8_0',
  'IQ4_NL',
  'IQ4_XS',
] as const

export type BlockDType = (typeof BLOCK_DTYPES)[number]

/** How much errors count: an importance matrix's part of a block. */
export interface Weighting {
  /** One number a value of the block. */
  readonly importance: Float32Array
  /** `sum(x * x) / n` over the whole row of `n` values, in f32, one running sum: what blocks of 32 need. */
  readonly rowMeanSquare: number
}

/**
 * Fits one block of `x.length` finite values.
 * @param target takes the block at byte `start`
 * @param weighting undefined: without importance, which is another fit
 */
export type FitBlock = (x: Float32Array, target: Uint8Array, start: number, weighting?: Weighting) => void

/** Decodes the block at byte `start` into `target`, from element `position` on. */
export type DecodeBlock = (bytes: Uint8Array, start: number, target: Float32Array, position: number) => void

export interface BlockType {
  /** llama.cpp's bytes. */
  readonly search: FitBlock
  /** aprender's bytes, where there is such a fit. */
  readonly minmax?: FitBlock
  /** Less error than llama.cpp's, where there is such a fit. */
  readonly refined?: FitBlock
  readonly decode: DecodeBlock
}
