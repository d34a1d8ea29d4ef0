/** What can be told of any K-quant's super-blocks without decoding their values. */
import { superBlockBytes } from '../tensor.js'

/** Where the f16 scales stand in a super-block, in bytes. */
const SCALE_OFFSETS = { Q4_K: [0, 2], Q6_K: [208] } as const
/** An f16 whose exponent bits are all set is NaN or infinity. */
const EXPONENT_HIGH_BITS = 0x7c

/** Index of the first super-block with a scale that is NaN or infinite; undefined when there is none. */
export function nonFiniteScale(dtype: 'Q4_K' | 'Q6_K', bytes: Uint8Array): number | undefined {
  const blockBytes = superBlockBytes(dtype)
  for (let start = 0, block = 0; start < bytes.length; start += blockBytes, block++) {
    for (const offset of SCALE_OFFSETS[dtype]) {
      const high = bytes[start + offset + 1] ?? 0
      if ((high & EXPONENT_HIGH_BITS) === EXPONENT_HIGH_BITS) return block
    }
  }
  return undefined
}
