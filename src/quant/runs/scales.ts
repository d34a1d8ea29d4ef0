/** The f16 scales of quantized blocks: what can be told of a block without decoding its values. */
import { DTYPES, type DType } from '../../model/dtypes.js'

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
): { readonly blocks: number; readonly greatest: number } {
  const { blockElements, blockBytes, scaleOffsets } = DTYPES[dtype]
  const [first = 0, last = first] = scaleOffsets
  let { blocks, greatest } = before
  for (let start = 0, element = 0; start < bytes.length; start += blockBytes, element += blockElements) {
    if (!isFaint(bytes, start + first) || !isFaint(bytes, start + last)) continue
    let magnitude = 0
    for (let i = element; i < element + blockElements; i++) magnitude = Math.max(magnitude, Math.abs(values[i] ?? 0))
    if (magnitude === 0) continue
    blocks++
    greatest = Math.max(greatest, magnitude)
  }
  return blocks === before.blocks ? before : { blocks, greatest }
}

/** Steps of 2^-24, in which the smallest f16 count: below so many, rounding errs by more than 6 %. */
const FAINT_STEPS = 8

function isFaint(bytes: Uint8Array, position: number): boolean {
  return (bytes[position] ?? 0) < FAINT_STEPS && ((bytes[position + 1] ?? 0) & 0x7f) === 0
}
