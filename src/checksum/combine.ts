/**
 * Combining CRC-32 checksums: the checksum of a whole from the checksums of its parts, so that parts can be written in
 * any order and are never read again.
 *
 * A CRC-32 is the remainder of a polynomial over GF(2). Appending n bytes multiplies the remainder of what came before
 * by x^(8n); so crc(A + B) = crc(A) * x^(8 * |B|) + crc(B), all modulo the CRC's polynomial. The pre- and
 * post-conditioning cancels out, as in zlib's crc32_combine.
 */

/** The polynomial of CRC-32 (IEEE 802.3) with its bits reversed: bit 31 is the coefficient of x^0. */
const POLYNOMIAL = 0xedb88320
const ONE = 0x80000000

/** x^(2^k) modulo the polynomial, for k = 0..31; the powers repeat from there on. */
const POWERS = ((): Uint32Array => {
  const powers = new Uint32Array(32)
  powers[0] = ONE >>> 1
  for (let k = 1; k < powers.length; k++) powers[k] = multiply(powers[k - 1] ?? 0, powers[k - 1] ?? 0)
  return powers
})()

/**
 * The CRC-32 of A followed by B.
 * @param first CRC-32 of A
 * @param second CRC-32 of B
 * @param secondBytes length of B in bytes
 */
export function combineCrc32(first: number, second: number, secondBytes: number): number {
  return (multiply(shiftBy(secondBytes), first) ^ second) >>> 0
}

/** Models have many tensors of one size: the powers that were asked for last are kept. */
const shifts = new Map<number, number>()
const MAX_SHIFTS = 256

/** x^(8 * bytes) modulo the polynomial. */
function shiftBy(bytes: number): number {
  let power = shifts.get(bytes)
  if (power === undefined) {
    if (shifts.size === MAX_SHIFTS) shifts.clear()
    power = powerOfX(8 * bytes)
    shifts.set(bytes, power)
  }
  return power
}

/** CRC-32 of `count` zero bytes that follow data with the checksum `crc`. */
export function appendZerosCrc32(crc: number, count: number): number {
  if (count === 0) return crc
  // crc(zeros) itself: the register starts at all ones and is inverted at the end.
  const zeros = (multiply(shiftBy(count), 0xffffffff) ^ 0xffffffff) >>> 0
  return combineCrc32(crc, zeros, count)
}

/** x^exponent modulo the polynomial. */
export function powerOfX(exponent: number): number {
  let product = ONE
  let k = 0
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2), k++) {
    if (rest % 2 === 1) product = multiply(POWERS[k & 31] ?? 0, product)
  }
  return product
}

/** Product of two polynomials modulo the CRC's polynomial, bits reversed. */
export function multiply(a: number, b: number): number {
  let product = 0
  let shifted = b
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= shifted
    shifted = (shifted & 1) === 1 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1
  }
  return product >>> 0
}
