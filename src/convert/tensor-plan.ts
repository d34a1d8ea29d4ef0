/** Which elements of which source tensors stand where in a converted tensor. */
import type { TensorInfo } from '../model/tensor.js'

/** How the rows of each block of a piece are ordered. */
export interface BlockOrder {
  /**
   * `rope`: the rows of a head, halves side by side in the source, alternate in the target: row `j` comes from row
   * `(j % 2) * (rows / 2) + (j >> 1)`. `transpose`: a block of `rows` x `cols` becomes one of `cols` x `rows`.
   */
  readonly kind: 'rope' | 'transpose'
  /** Rows and elements a row of one block, in the source. */
  readonly rows: number
  readonly cols: number
}

/** A run of elements of a source tensor that stands in a target as one run. */
export interface Piece {
  /** The source's name. */
  readonly source: string
  /** First element in the source. */
  readonly from: number
  readonly elements: number
  /** First element in the target. */
  readonly to: number
  /** Undefined: as they stand. */
  readonly order?: BlockOrder | undefined
  /** Added to every element before it is rounded to the target's dtype: in f32, and where the source is F16 in f16. */
  readonly add?: number | undefined
}

/** A converted tensor. Its pieces cover it; or it is made, and has none. */
export interface TargetTensor {
  readonly tensor: TensorInfo
  readonly pieces: readonly Piece[]
  /** The values of a tensor that comes from no source: F32. */
  readonly made?: Float32Array | undefined
}
