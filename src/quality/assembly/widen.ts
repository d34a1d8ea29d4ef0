/** Exact widening of 16-bit floats in RAW to f32: subnormals, infinities and NaNs stay what they are. */
import { RAW } from "./memory";

/** 2^112 = the ratio of the two formats' exponent biases, 127 - 15. */
const REBIAS: u32 = (112 + 127) << 23;

/** Exponents of f32, of what is infinite or NaN as f16 and was moved to its place: 31 + 112. */
const ALL_ONES: i32 = 0x7f800000;

/**
 * Four f16, sign-extended to the 32-bit lanes. Exponent and fraction, moved to their f32 places, are the value times 2^-112,
 * for f16 subnormals as an f32 subnormal; the product with 2^112 is exact. What has reached 2^16 is no number: its exponent
 * becomes all ones.
 */
@inline
export function widenFour(halves: v128): v128 {
  const shifted = v128.and(i32x4.shl(halves, 13), i32x4.splat(0x8fffffff));
  const wide = f32x4.mul(shifted, i32x4.splat(REBIAS));
  const isNoNumber = f32x4.ge(f32x4.abs(wide), f32x4.splat(65536));
  return v128.or(wide, v128.and(isNoNumber, i32x4.splat(ALL_ONES)));
}

/** Widens `count` values; those up to the next multiple of 8 behind them are written, too. */
export function widenF16(target: usize, count: i32): void {
  const end = RAW + ((<usize>count) << 1);
  for (let source: usize = RAW; source < end; source += 16, target += 32) {
    const eight = v128.load(source);
    v128.store(target, widenFour(i32x4.extend_low_i16x8_s(eight)));
    v128.store(target, widenFour(i32x4.extend_high_i16x8_s(eight)), 16);
  }
}

export function widenBF16(target: usize, count: i32): void {
  const end = RAW + ((<usize>count) << 1);
  for (let source: usize = RAW; source < end; source += 16, target += 32) {
    const eight = v128.load(source);
    v128.store(target, i32x4.shl(i32x4.extend_low_i16x8_u(eight), 16));
    v128.store(target, i32x4.shl(i32x4.extend_high_i16x8_u(eight), 16), 16);
  }
}
