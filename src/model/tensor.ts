/**
 * The vocabulary of the whole package: what a tensor is, what flows through the streams, and how many bytes a dtype
 * takes. Knows no file format and no stream.
 */

/** Element types. Names are the field's; K-quants and the APR quants are block formats. */
export type DType = 'F32' | 'F16' | 'BF16' | 'F64' | 'I32' | 'I64' | 'I8' | 'U8' | 'Q4_K' | 'Q6_K' | 'APR_Q4' | 'APR_Q8'

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
  /** The local file it comes from, so that a writer never replaces its own input. */
  readonly origin?: FileIdentity | undefined
}

/** Which file something is, whatever path or link leads to it. */
export interface FileIdentity {
  readonly device: bigint
  readonly inode: bigint
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

/** Elements of a super-block of the K-quants. */
export const SUPER_BLOCK_ELEMENTS = 256
/** Elements of a block of APR_Q4. */
export const APR_Q4_BLOCK_ELEMENTS = 32
/** Bytes of a block of APR_Q4: an f16 scale and 32 nibbles. */
export const APR_Q4_BLOCK_BYTES = 18
/** Bytes before the int8 values of an APR_Q8 tensor: its one f32 scale. */
export const APR_Q8_HEAD_BYTES = 4

/** Bytes of one element, or of one super-block. */
const PLAIN_BYTES = { F32: 4, F16: 2, BF16: 2, F64: 8, I32: 4, I64: 8, I8: 1, U8: 1 } as const
const SUPER_BLOCK_BYTES = { Q4_K: 144, Q6_K: 210 } as const

/** Whether the dtype is one of the K-quants, stored in super-blocks. */
export function isKQuant(dtype: DType): dtype is 'Q4_K' | 'Q6_K' {
  return dtype in SUPER_BLOCK_BYTES
}

/** Bytes of one super-block of a K-quant. */
export function superBlockBytes(dtype: 'Q4_K' | 'Q6_K'): number {
  return SUPER_BLOCK_BYTES[dtype]
}

/** Bytes of one element of a dtype that has no blocks; undefined for one that has. */
export function elementBytes(dtype: DType): number | undefined {
  return dtype in PLAIN_BYTES ? PLAIN_BYTES[dtype as keyof typeof PLAIN_BYTES] : undefined
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
  const elements = elementCount(shape)
  if (isKQuant(dtype)) {
    const [rows, cols] = shape
    const blocks =
      shape.length === 2 && rows !== undefined && cols !== undefined
        ? rows * Math.ceil(cols / SUPER_BLOCK_ELEMENTS)
        : Math.ceil(elements / SUPER_BLOCK_ELEMENTS)
    return blocks * SUPER_BLOCK_BYTES[dtype]
  }
  if (dtype === 'APR_Q4') return Math.ceil(elements / APR_Q4_BLOCK_ELEMENTS) * APR_Q4_BLOCK_BYTES
  if (dtype === 'APR_Q8') return APR_Q8_HEAD_BYTES + elements
  return elements * PLAIN_BYTES[dtype]
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
  if (size === tensorBytes(dtype, shape) || isTiedPlaceholder(tensor)) return true
  return isKQuant(dtype) && size === tensorBytes(dtype, [elementCount(shape)])
}

/** Elements of all tensors together; a tied placeholder's were counted with the tensor it stands for. */
export function parameterCount(tensors: readonly TensorInfo[]): number {
  return tensors.reduce((sum, tensor) => sum + (isTiedPlaceholder(tensor) ? 0 : elementCount(tensor.shape)), 0)
}
