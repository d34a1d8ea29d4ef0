/**
 * Every dtype and how its elements are stored: one table, from which sizes, cutting, decoding and the checks of scales
 * read. A new dtype is a row here.
 */

/** Elements of a super-block of the K-quants, and of every unit in which a tensor may be cut inside a row. */
export const SUPER_BLOCK_ELEMENTS = 256

/** How the elements of a dtype are stored. */
export interface DTypeInfo {
  /** Whether its values are numbers as they are: quantized ones have blocks and scales. */
  readonly kind: 'float' | 'integer' | 'quantized'
  /** Elements and bytes of a block; a plain dtype's block is one element. */
  readonly blockElements: number
  readonly blockBytes: number
  /** Bytes before the first block. */
  readonly headBytes: number
  /** Whether each row of a matrix starts a new block, the row before padded to whole blocks; else blocks run through. */
  readonly padsRows: boolean
  /** Where the f16 scales stand in a block, in bytes; a scale that is not finite decodes to no number. */
  readonly scaleOffsets: readonly number[]
}

const plain = (kind: 'float' | 'integer', blockBytes: number): DTypeInfo => {
  return { kind, blockElements: 1, blockBytes, headBytes: 0, padsRows: false, scaleOffsets: [] }
}

const superBlocks = (blockBytes: number, scaleOffsets: readonly number[]): DTypeInfo => {
  return {
    kind: 'quantized',
    blockElements: SUPER_BLOCK_ELEMENTS,
    blockBytes,
    headBytes: 0,
    padsRows: true,
    scaleOffsets,
  }
}

const quantized = { kind: 'quantized', padsRows: false, scaleOffsets: [] } as const

const TABLE = {
  F32: plain('float', 4),
  F16: plain('float', 2),
  BF16: plain('float', 2),
  F64: plain('float', 8),
  I32: plain('integer', 4),
  I64: plain('integer', 8),
  I8: plain('integer', 1),
  U8: plain('integer', 1),
  Q4_K: superBlocks(144, [0, 2]),
  Q6_K: superBlocks(210, [208]),
  /** An f16 scale and 32 nibbles. */
  APR_Q4: { ...quantized, blockElements: 32, blockBytes: 18, headBytes: 0 },
  /** One f32 scale for the whole tensor, then int8 values. */
  APR_Q8: { ...quantized, blockElements: 1, blockBytes: 1, headBytes: 4 },
} as const satisfies Record<string, DTypeInfo>

/** Element types. Names are the field's; K-quants and the APR quants are block formats. */
export type DType = keyof typeof TABLE

export const DTYPES: Readonly<Record<DType, DTypeInfo>> = TABLE

/** Whether the dtype is one of the K-quants, stored in super-blocks. */
export function isKQuant(dtype: DType): boolean {
  return DTYPES[dtype].blockElements === SUPER_BLOCK_ELEMENTS
}

/** Whether `name` is that of a dtype. */
export function isDType(name: unknown): name is DType {
  return typeof name === 'string' && Object.hasOwn(TABLE, name)
}
