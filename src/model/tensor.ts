/**
 * What a tensor is, and how many bytes it takes.
 */
import { DTYPES, isDType, type DType } from './dtypes.js'

/** One tensor, as an index describes it. */
export interface TensorInfo {
  readonly name: string
  readonly dtype: DType
  /** Dimensions in elements, outermost first: a matrix is `[rows, cols]`, a scalar `[]`. */
  readonly shape: readonly number[]
  /** Bytes of its data, without padding. */
  readonly size: number
}

/** Number of elements of a shape. The product of no dimensions is 1: a scalar. */
export function elementCount(shape: readonly number[]): number {
  let product = 1
  for (const dimension of shape) {
    // At once: a product that has become infinite would make it NaN.
    if (dimension === 0) return 0
    product *= dimension
  }
  return product
}

/**
 * Bytes that a tensor of this dtype and shape takes. A matrix of a K-quant is cut row by row, each row padded to a
 * whole super-block; any other rank is cut flat. Not exact above 2^53: callers refuse such sizes.
 */
export function tensorBytes(dtype: DType, shape: readonly number[]): number {
  // A name that is none comes from a caller without types, and is refused by what asks for its size.
  if (!isDType(dtype)) return NaN
  const { blockElements, blockBytes, headBytes, padsRows } = DTYPES[dtype]
  const [rows, cols] = shape
  const isPadded = padsRows && shape.length === 2 && rows !== undefined && cols !== undefined
  const blocks = isPadded ? rows * Math.ceil(cols / blockElements) : Math.ceil(elementCount(shape) / blockElements)
  return headBytes + blocks * blockBytes
}

/** Whether a tensor stands for another one: it has a shape, and no bytes of its own. */
export function isPlaceholder({ shape, size }: TensorInfo): boolean {
  return size === 0 && elementCount(shape) > 0
}

/** Index of the first element of a block, of a matrix cut row by row or of anything cut flat. */
export function blockElement(dtype: DType, shape: readonly number[], block: number): number {
  const { blockElements } = DTYPES[dtype]
  const [, cols] = shape
  if (shape.length !== 2 || cols === undefined) return block * blockElements
  const rowBlocks = Math.ceil(cols / blockElements)
  return Math.floor(block / rowBlocks) * cols + (block % rowBlocks) * blockElements
}

/** Elements of all tensors together; a placeholder's were counted with the tensor that it stands for. */
export function parameterCount(tensors: readonly TensorInfo[]): number {
  return tensors.reduce((sum, tensor) => sum + (isPlaceholder(tensor) ? 0 : elementCount(tensor.shape)), 0)
}

/** Columns of a tensor's matrices. */
export function columnsOf({ shape }: TensorInfo): number {
  return shape.at(-1) ?? 1
}

/** Rows of each of its matrices. */
export function rowsOf({ shape }: TensorInfo): number {
  return shape.at(-2) ?? 1
}

export function matricesOf({ shape }: TensorInfo): number {
  return shape.at(-3) ?? 1
}
