/**
 * The vocabulary of the whole package: what a tensor is, what flows through the streams, and how many bytes a tensor
 * takes. Knows no file format and no stream.
 */
import { DTYPES, isDType, isKQuant, SUPER_BLOCK_ELEMENTS, type DType } from './dtypes.js'

/** One tensor, as an index describes it. */
export interface TensorInfo {
  readonly name: string
  readonly dtype: DType
  /** Dimensions in elements, outermost first: a matrix is `[rows, cols]`, a scalar `[]`. */
  readonly shape: readonly number[]
  /** Bytes of its data, without padding. */
  readonly size: number
}

/** A whole model but for its data. Frozen, and shared by every record of a stream. */
export interface AprModel {
  /** Every tensor of the stream. */
  readonly tensors: readonly TensorInfo[]
  /** The metadata as JSON text: kept as text so that no number, null or key order changes on the way. */
  readonly metadata: string
  /** The header's flag bits. */
  readonly flags: number
  /** Minor version of the format. */
  readonly minorVersion: number
  /** The header's 20 reserved bytes. */
  readonly reserved: Uint8Array
  /** The local file it comes from, so that a writer never replaces its own input, nor lets more people read it. */
  readonly origin?: FileIdentity | undefined
}

/** Which file something is, whatever path or link leads to it. */
export interface FileIdentity {
  readonly device: bigint
  readonly inode: bigint
  /** Who may do what with it: nine permission bits. */
  readonly mode?: number | undefined
}

/** A run of consecutive bytes of one tensor: the one thing that flows through the streams. */
export interface TensorRecord extends TensorInfo {
  /** Where `data` starts inside the tensor, in bytes. */
  readonly offset: number
  /**
   * The bytes. They belong to the stage that holds the record: once a record is passed on, a later stage may reuse
   * their memory. A stage that wants to keep them copies them (`data.slice()`).
   */
  readonly data: Uint8Array
  /** The stream as it will be from here on. */
  readonly model: AprModel
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

/** Names of output projections that may be tied to the embedding. */
const TIED_NAMES = ['lm_head.weight', 'output.weight']

/**
 * Whether a tensor is the placeholder of a tied output projection: its full shape and no bytes, because its values are
 * those of the embedding.
 */
export function isTiedPlaceholder({ name, shape, size }: TensorInfo): boolean {
  return size === 0 && TIED_NAMES.includes(name) && elementCount(shape) > 0
}

/** Index of the first element of a super-block, of a matrix cut row by row or of anything cut flat. */
export function blockElement(shape: readonly number[], block: number): number {
  const [, cols] = shape
  if (shape.length !== 2 || cols === undefined) return block * SUPER_BLOCK_ELEMENTS
  const rowBlocks = Math.ceil(cols / SUPER_BLOCK_ELEMENTS)
  return Math.floor(block / rowBlocks) * cols + (block % rowBlocks) * SUPER_BLOCK_ELEMENTS
}

/**
 * Whether `size` is one that a tensor of this dtype and shape can have: the exact one, none for a tied placeholder, or
 * that of a K-quant matrix cut flat, as older files hold it.
 */
export function isPossibleSize(tensor: TensorInfo): boolean {
  const { dtype, shape, size } = tensor
  if (!isDType(dtype)) return false
  if (size === tensorBytes(dtype, shape) || isTiedPlaceholder(tensor)) return true
  return isKQuant(dtype) && size === tensorBytes(dtype, [elementCount(shape)])
}

/** Elements of all tensors together; a tied placeholder's were counted with the tensor it stands for. */
export function parameterCount(tensors: readonly TensorInfo[]): number {
  return tensors.reduce((sum, tensor) => sum + (isTiedPlaceholder(tensor) ? 0 : elementCount(tensor.shape)), 0)
}
