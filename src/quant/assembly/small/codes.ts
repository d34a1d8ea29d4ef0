/** Codes of blocks of 32: whole parts of numbers, as bytes. */

/** 1.5 * 2^23: the pattern of its sum with a whole number ends in that number, in two's complement. */
const TO_INTEGER: f32 = 12582912;

/**
 * The low byte of whole numbers, in 32-bit lanes. Infinity and NaN come of scales whose reciprocal is infinite, and give 0:
 * the patterns end in 0.
 */
@inline
export function lowByte(whole: v128): v128 {
  return v128.and(f32x4.add(whole, f32x4.splat(TO_INTEGER)), i32x4.splat(0xff));
}

/** 16 bytes from the lanes of four vectors. */
@inline
export function bytesOf(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
}

/** The low halves of 16 bytes are values 0 to 15, the high ones values 16 to 31. Takes what 4 bits hold. */
@inline
export function storeNibbles(output: usize, low: v128, high: v128): void {
  v128.store(output, v128.or(low, i16x8.shl(high, 4)));
}

/** Of values of 5 bits the fifth bits, that of value i at bit i of 32, and behind them the others. */
@inline
export function storeFiveBits(output: usize, low: v128, high: v128): void {
  const fifths = i8x16.bitmask(i16x8.shl(low, 3)) | (i8x16.bitmask(i16x8.shl(high, 3)) << 16);
  store<i32>(output, fifths);
  const nibble = i8x16.splat(15);
  storeNibbles(output + 4, v128.and(low, nibble), v128.and(high, nibble));
}
