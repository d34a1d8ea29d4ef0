/** The last step of the signed super-blocks. */
import { roundBetween } from '../round.js'

const { fround } = Math

/**
 * Chooses every code again with its sub-block's scale as it will be decoded, `d * scale`. Where that is 0, codes stay.
 * @param zero codes are from 0 to `2 * zero - 1`
 */
export function chooseAgain(
  x: Float32Array,
  d: number,
  scales: ArrayLike<number>,
  zero: number,
  codes: Uint8Array,
): void {
  const subBlockElements = x.length / scales.length
  for (let j = 0; j < scales.length; j++) {
    const step = fround(d * (scales[j] ?? 0))
    if (step === 0) continue
    for (let i = j * subBlockElements; i < (j + 1) * subBlockElements; i++) {
      codes[i] = zero + roundBetween(fround((x[i] ?? 0) / step), -zero, zero - 1)
    }
  }
}
