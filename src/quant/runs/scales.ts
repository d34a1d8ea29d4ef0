/** The f16 scales of quantized blocks: what can be told of a block without decoding its values. */
import { DTYPES, type DType } from '../../model/dtypes.js'
import type { Fit } from '../kernel.js'

/** An f16 whose exponent bits are all set is NaN or infinity. */
const EXPONENT_HIGH_BITS = 0x7c

/** Index of the first block with a scale that is NaN or infinite; undefined when there is none. */
export function nonFiniteScale(dtype: DType, bytes: Uint8Array): number | undefined {
  const { blockBytes, scaleOffsets } = DTYPES[dtype]
  const [first, last = first] = scaleOffsets
  if (first === undefined || last === undefined) return undefined
  for (let start = 0, block = 0; start < bytes.length; start += blockBytes, block++) {
    if (isNonFinite(bytes[start + first + 1]) || isNonFinite(bytes[start + last + 1])) return block
  }
  return undefined
}

/** Pattern of the greatest half: a refined scale is never more, and is cut to it where values are too large. */
const GREATEST = 0x7bff

/** Index of the first refined block whose values are larger than its scale can be; undefined when there is none. */
export function cutScale(dtype: DType, bytes: Uint8Array): number | undefined {
  const { blockBytes, scaleOffsets } = DTYPES[dtype]
  const isCut = (position: number): boolean =>
    (((bytes[position] ?? 0) | ((bytes[position + 1] ?? 0) << 8)) & 0x7fff) === GREATEST
  for (let start = 0, block = 0; start < bytes.length; start += blockBytes, block++) {
    for (const offset of scaleOffsets) if (isCut(start + offset)) return block
  }
  return undefined
}

function isNonFinite(high = 0): boolean {
  return (high & EXPONENT_HIGH_BITS) === EXPONENT_HIGH_BITS
}

/**
 * Blocks whose f16 scales have fewer than four bits left, because the values are too small, and the greatest of these
 * values; added to what was found before. Where no bit is left they decode to zeros.
 */
export function faintBlocks(
  dtype: DType,
  bytes: Uint8Array,
  values: Float32Array,
  before: { readonly blocks: number; readonly greatest: number },
  fit: Fit,
): { readonly blocks: number; readonly greatest: number } {
  const { blockElements, blockBytes, scaleOffsets } = DTYPES[dtype]
  const [first = 0, last = first] = scaleOffsets
  const levels = fit === 'refined' ? REFINED_LEVELS[dtype] : undefined
  let { blocks, greatest } = before
  for (let start = 0, element = 0; start < bytes.length; start += blockBytes, element += blockElements) {
    if (!isFaint(bytes, start + first) || !isFaint(bytes, start + last)) continue
    let magnitude = 0
    for (let i = element; i < element + blockElements; i++) magnitude = Math.max(magnitude, Math.abs(values[i] ?? 0))
    if (magnitude === 0) continue
    if (levels !== undefined && magnitude >= FAINT_STEPS * LEAST_HALF * levels) continue
    blocks++
    greatest = Math.max(greatest, magnitude)
  }
  return blocks === before.blocks ? before : { blocks, greatest }
}

/** Steps of 2^-24, in which the smallest f16 count: below so many, rounding errs by more than 6 %. */
const FAINT_STEPS = 8
const LEAST_HALF = 2 ** -24

/** Steps of the greatest value. The refined fit counts scales of sub-blocks in small halves as well as in large ones. */
const REFINED_LEVELS: Readonly<Partial<Record<DType, number>>> = { Q2_K: 3, Q3_K: 4, Q4_K: 15, Q5_K: 31, Q6_K: 32 }

function isFaint(bytes: Uint8Array, position: number): boolean {
  return (bytes[position] ?? 0) < FAINT_STEPS && ((bytes[position + 1] ?? 0) & 0x7f) === 0
}
