/** Every dtype as numbers. */
import { DTYPES, type DType } from '../model/dtypes.js'
import { BLOCK_DTYPES, type DecodeBlock } from './block.js'
import { BLOCK_TYPES } from './block-types.js'
import { decodeAprQ4Block } from './blocks/q4_0.js'
import { bf16ToF32, f16ToF32 } from './float.js'

const BLOCK_DECODERS: Partial<Record<DType, DecodeBlock>> = {
  ...Object.fromEntries(BLOCK_DTYPES.map((dtype) => [dtype, BLOCK_TYPES[dtype]?.decode])),
  APR_Q4: decodeAprQ4Block,
}

/** Reads element `index`; for plain dtypes. */
type ReadElement = (view: DataView, index: number, scale: number) => number

const ELEMENT_READERS: Partial<Record<DType, ReadElement>> = {
  F32: (view, i) => view.getFloat32(i * 4, true),
  F16: (view, i) => f16ToF32(view.getUint16(i * 2, true)),
  BF16: (view, i) => bf16ToF32(view.getUint16(i * 2, true)),
  F64: (view, i) => view.getFloat64(i * 8, true),
  I32: (view, i) => view.getInt32(i * 4, true),
  I64: (view, i) => Number(view.getBigInt64(i * 8, true)),
  I8: (view, i) => view.getInt8(i),
  U8: (view, i) => view.getUint8(i),
  APR_Q8: (view, i, scale) => view.getInt8(i) * scale,
}

/** Whether a dtype's tensors can be read as numbers. */
export function isDecodable(dtype: DType): boolean {
  return BLOCK_DECODERS[dtype] !== undefined || ELEMENT_READERS[dtype] !== undefined
}

/** Elements that a tensor's bytes are to be decoded from, and where the values go. */
export interface Decoding {
  readonly dtype: DType
  /** Whole blocks, without the dtype's head. */
  readonly data: Uint8Array
  /** The first element, counted from the start of `data`, and how many. */
  readonly first: number
  readonly count: number
  /** The scale of an APR_Q8 tensor. */
  readonly scale?: number | undefined
}

/** Decodes elements, rounded to f32, into `target` from element `position` on. */
export function decodeElements(decoding: Decoding, target: Float32Array, position: number): void {
  const { dtype, data, first, count, scale = 0 } = decoding
  const decodeBlock = BLOCK_DECODERS[dtype]
  if (decodeBlock) {
    decodeBlocks(decoding, decodeBlock, target, position)
    return
  }
  const read = ELEMENT_READERS[dtype]
  if (!read) throw new Error(`${dtype} has no decoder`)
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  for (let i = 0; i < count; i++) target[position + i] = read(view, first + i, scale)
}

/** Blocks of which all elements are wanted go straight to their place. */
function decodeBlocks(
  { dtype, data, first, count }: Decoding,
  decodeBlock: DecodeBlock,
  target: Float32Array,
  position: number,
): void {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const end = first + count
  let part: Float32Array | undefined
  for (let element = first; element < end;) {
    const block = Math.floor(element / blockElements)
    const blockStart = block * blockElements
    const wanted = Math.min(end, blockStart + blockElements) - element
    const place = position + element - first
    if (wanted === blockElements) decodeBlock(data, block * blockBytes, target, place)
    else {
      part ??= new Float32Array(blockElements)
      decodeBlock(data, block * blockBytes, part, 0)
      target.set(part.subarray(element - blockStart, element - blockStart + wanted), place)
    }
    element += wanted
  }
}

/** The scale that an APR_Q8 tensor starts with. */
export function aprQ8Scale(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat32(0, true)
}
