/** Packing of one super-block: f16 scales, 6-bit scales, 4-bit values. */

/** Nearest f16, ties to even, subnormals included. */
export function f32ToF16(value: f32): u32 {
  const bits = reinterpret<u32>(value);
  const sign = (bits >> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0xfe00; // NaN: negative, as x86's arithmetic makes it
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 65536 and above
  if (magnitude < 0x38800000) {
    // Below 2^-14. Next to 0.5 an f32 counts in steps of 2^-24, which is what an f16 subnormal counts in.
    return sign | (reinterpret<u32>(reinterpret<f32>(magnitude) + 0.5) - 0x3f000000);
  }
  // Half a step less one, and one more where the kept part is odd: ties go to even. A carry moves to the next exponent,
  // from 65520 on to infinity's.
  const odd = (magnitude >> 13) & 1;
  return sign | ((magnitude - (112 << 23) + 0xfff + odd) >> 13);
}

/** The greatest of the lanes of two vectors, and 0 at least. NaN lanes lose. */
@inline
export function maxLaneOrZero(a: v128, b: v128): f32 {
  let m = f32x4.pmax(f32x4.pmax(f32x4.splat(0), a), b);
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 2, 3, 0, 1));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 1, 0, 3, 2));
  return f32x4.extract_lane(m, 0);
}

/** The low bytes of the four lanes, lane 0 in the lowest. */
@inline
export function lowBytes(lanes: v128): u32 {
  const bytes = i8x16.shuffle(lanes, lanes, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  return i32x4.extract_lane(bytes, 0);
}

/**
 * The 16 bytes before the values: d, dmin and the 12 bytes of 6-bit scales and mins. The integer vectors hold sub-blocks 0-3
 * (`Low`) and 4-7 (`High`). Each 32-bit operation below packs four bytes at once.
 */
@inline
export function packHeader(
  output: usize, d: u32, dmin: u32, scalesLow: v128, scalesHigh: v128, minsLow: v128, minsHigh: v128,
): void {
  const scales4 = lowBytes(scalesHigh);
  const mins4 = lowBytes(minsHigh);
  const TOP_TWO = 0x30303030;
  const LOW_FOUR = 0x0f0f0f0f;
  store<u16>(output, d);
  store<u16>(output, dmin, 2);
  store<u32>(output, lowBytes(scalesLow) | ((scales4 & TOP_TWO) << 2), 4);
  store<u32>(output, lowBytes(minsLow) | ((mins4 & TOP_TWO) << 2), 8);
  store<u32>(output, (scales4 & LOW_FOUR) | ((mins4 & LOW_FOUR) << 4), 12);
}

/**
 * Four bytes of packed values, in 32-bit lanes: `low` and `high` hold whole numbers 0 .. 15 as f32. 2^23 + n is the f32
 * whose pattern ends in n.
 */
@inline
export function packNibbles(low: v128, high: v128): v128 {
  const sum = f32x4.add(f32x4.add(f32x4.mul(high, f32x4.splat(16)), low), f32x4.splat(8388608));
  return v128.and(sum, i32x4.splat(0xff));
}

/** 16 bytes from the low bytes of four vectors' lanes. */
@inline
export function storeBytes(output: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(output, i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)));
}
