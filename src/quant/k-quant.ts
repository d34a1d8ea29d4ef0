/** What can be told of any K-quant's super-blocks without decoding their values. */
import { superBlockBytes } from '../model/tensor.js'

/** Where the f16 scales stand in a super-block, in bytes: the first and the last of them. */
const SCALE_OFFSETS = { Q4_K: { first: 0, last: 2 }, Q6_K: { first: 208, last: 208 } } as const
/** An f16 whose exponent bits are all set is NaN or infinity. */
const EXPONENT_HIGH_BITS = 0x7c

/** Index of the first super-block with a scale that is NaN or infinite; undefined when there is none. */
export function nonFiniteScale(dtype: 'Q4_K' | 'Q6_K', bytes: Uint8Array): number | undefined {
  const blockBytes = superBlockBytes(dtype)
  const { first, last } = SCALE_OFFSETS[dtype]
  for (let start = 0, block = 0; start < bytes.length; start += blockBytes, block++) {
    if (isNonFinite(bytes[start + first + 1]) || isNonFinite(bytes[start + last + 1])) return block
  }
  return undefined
}

function isNonFinite(high = 0): boolean {
  return (high & EXPONENT_HIGH_BITS) === EXPONENT_HIGH_BITS
}
