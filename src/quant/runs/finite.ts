/** NaN and infinity among floats that are passed on as they are. */
import { DTYPES, type DType } from '../../model/dtypes.js'

/** Bits of the exponent, in the last byte of a float and in the one before: all are set in NaN and infinity alone. */
const EXPONENTS: Readonly<Partial<Record<DType, readonly [last: number, before: number]>>> = {
  ...{ F32: [0x7f, 0x80], F16: [0x7c, 0], BF16: [0x7f, 0x80], F64: [0x7f, 0xf0] },
}

/**
 * Index of the first float that is NaN or infinite; undefined where there is none, and of what are no such floats.
 * @param bytes whole ones
 */
export function firstNotFinite(dtype: DType, bytes: Uint8Array): number | undefined {
  const exponent = EXPONENTS[dtype]
  if (!exponent) return undefined
  const [last, before] = exponent
  const { blockBytes } = DTYPES[dtype]
  for (let end = blockBytes - 1; end < bytes.length; end += blockBytes) {
    if (((bytes[end] ?? 0) & last) === last && ((bytes[end - 1] ?? 0) & before) === before) {
      return (end + 1) / blockBytes - 1
    }
  }
  return undefined
}
