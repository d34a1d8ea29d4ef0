/** What each tensor of an output is made of, as plain data: known from a plan alone, and good for any thread. */
import type { Piece } from '../convert/tensor-plan.js'
import type { PlacedTensor } from '../formats/format.js'
import type { TensorInfo } from '../model/tensor.js'
import type { Fit } from '../quant/kernel.js'

/** A piece of a converted tensor, and where its source stands. */
export interface SourcePiece {
  readonly piece: Piece
  readonly source: PlacedTensor
}

/** How numbers become others. */
export interface PartConversion {
  readonly fit: Fit
  readonly isLenient: boolean
  /** Whether importance counts. */
  readonly isWeighted: boolean
  /** What helps where a value is none that the dtype can hold: one that is finite, and one that is not. */
  readonly cures: { readonly finite: string; readonly infinite: string }
}

/** A tensor of the output. */
export interface PartTensor {
  readonly to: TensorInfo
  /** What is quantized or passed on, behind a conversion. */
  readonly from: TensorInfo
  /** What that is made of: the bytes of a tensor as they are, pieces of tensors, or values that come from none. */
  readonly origin: PlacedTensor | readonly SourcePiece[] | Float32Array
  /** Undefined where `from` is passed on as it is. */
  readonly conversion?: PartConversion | undefined
}

/** Some bytes of a tensor of the output. */
export interface PartRange {
  readonly part: PartTensor
  /** From the tensor's start. */
  readonly start: number
  readonly end: number
}
