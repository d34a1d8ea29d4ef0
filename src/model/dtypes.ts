/**
 * Every dtype and how its elements are stored: one table, from which sizes, cutting, decoding and the checks of scales
 * read. A new dtype is a row here.
 */

/** Elements of a super-block of the K-quants, and of every unit in which a tensor may be cut inside a row. */
export const SUPER_BLOCK_ELEMENTS = 256

/** How the elements of a dtype are stored. */
export interface DTypeInfo {
  /**
   * Whether its values are numbers as they are: quantized ones have blocks and scales. What is `opaque` passes as it is;
   * nothing here computes with it.
   */
  readonly kind: 'float' | 'integer' | 'quantized' | 'opaque'
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

const plain = (kind: 'float' | 'integer' | 'opaque', blockBytes: number, blockElements = 1): DTypeInfo => {
  return { kind, blockElements, blockBytes, headBytes: 0, padsRows: false, scaleOffsets: [] }
}

const blocks = (blockElements: number, blockBytes: number, scaleOffsets: readonly number[]): DTypeInfo => {
  return { kind: 'quantized', blockElements, blockBytes, headBytes: 0, padsRows: false, scaleOffsets }
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
  I8: plain('integer', 1),
  I16: plain('integer', 2),
  I32: plain('integer', 4),
  I64: plain('integer', 8),
  U8: plain('integer', 1),
  U16: plain('integer', 2),
  U32: plain('integer', 4),
  U64: plain('integer', 8),
  BOOL: plain('opaque', 1),
  F4: plain('opaque', 1, 2),
  F6_E2M3: plain('opaque', 3, 4),
  F6_E3M2: plain('opaque', 3, 4),
  F8_E4M3: plain('opaque', 1),
  F8_E4M3FNUZ: plain('opaque', 1),
  F8_E5M2: plain('opaque', 1),
  F8_E5M2FNUZ: plain('opaque', 1),
  F8_E8M0: plain('opaque', 1),
  C64: plain('opaque', 8),
  Q2_K: superBlocks(84, [80, 82]),
  Q3_K: superBlocks(110, [108]),
  Q4_K: superBlocks(144, [0, 2]),
  Q5_K: superBlocks(176, [0, 2]),
  Q6_K: superBlocks(210, [208]),
  Q8_K: superBlocks(292, []),
  IQ1_S: superBlocks(50, [0]),
  IQ1_M: superBlocks(56, []),
  IQ2_XXS: superBlocks(66, [0]),
  IQ2_XS: superBlocks(74, [0]),
  IQ2_S: superBlocks(82, [0]),
  IQ3_XXS: superBlocks(98, [0]),
  IQ3_S: superBlocks(110, [0]),
  IQ4_XS: superBlocks(136, [0]),
  TQ1_0: superBlocks(54, [52]),
  TQ2_0: superBlocks(66, [64]),
  Q4_0: blocks(32, 18, [0]),
  Q4_1: blocks(32, 20, [0, 2]),
  Q5_0: blocks(32, 22, [0]),
  Q5_1: blocks(32, 24, [0, 2]),
  Q8_0: blocks(32, 34, [0]),
  Q8_1: blocks(32, 36, [0, 2]),
  IQ4_NL: blocks(32, 18, [0]),
  MXFP4: blocks(32, 17, []),
  NVFP4: blocks(64, 36, []),
  Q1_0: blocks(128, 18, [0]),
  Q2_0: blocks(64, 18, [0]),
  /** An f16 scale and 32 nibbles. */
  APR_Q4: { ...quantized, blockElements: 32, blockBytes: 18, headBytes: 0 },
  /** One f32 scale for the whole tensor, then int8 values. */
  APR_Q8: { ...quantized, blockElements: 1, blockBytes: 1, headBytes: 4 },
} as const satisfies Record<string, DTypeInfo>

/** Element types. Names are the field's; K-quants and the APR quants are block formats. */
export type DType = keyof typeof TABLE

export const DTYPES: Readonly<Record<DType, DTypeInfo>> = TABLE

/** Whether the dtype is stored in super-blocks, as the K-quants are. */
export function isKQuant(dtype: DType): boolean {
  return DTYPES[dtype].blockElements === SUPER_BLOCK_ELEMENTS
}

/** Whether `name` is that of a dtype. */
export function isDType(name: unknown): name is DType {
  return typeof name === 'string' && Object.hasOwn(TABLE, name)
}
