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
