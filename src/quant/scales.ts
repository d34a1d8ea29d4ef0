/** The f16 scales of quantized blocks: what can be told of a block without decoding its values. */
import { DTYPES, type DType } from '../model/dtypes.js'

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

/** Blocks that decode to zeros while their values are none, and the greatest of these; added to what was found before. */
export function zeroedBlocks(
  dtype: DType,
  bytes: Uint8Array,
  values: Float32Array,
  before: { readonly blocks: number; readonly greatest: number },
): { readonly blocks: number; readonly greatest: number } {
  const { blockElements, blockBytes, scaleOffsets } = DTYPES[dtype]
  const [first = 0, last = first] = scaleOffsets
  let { blocks, greatest } = before
  for (let start = 0, element = 0; start < bytes.length; start += blockBytes, element += blockElements) {
    if (!isZero(bytes, start + first) || !isZero(bytes, start + last)) continue
    let magnitude = 0
    for (let i = element; i < element + blockElements; i++) magnitude = Math.max(magnitude, Math.abs(values[i] ?? 0))
    if (magnitude === 0) continue
    blocks++
    greatest = Math.max(greatest, magnitude)
  }
  return blocks === before.blocks ? before : { blocks, greatest }
}

/** Whether an f16 is 0, of either sign. */
function isZero(bytes: Uint8Array, position: number): boolean {
  return bytes[position] === 0 && ((bytes[position + 1] ?? 0) & 0x7f) === 0
}
