/** Exact widening of 16-bit floats to f32: subnormals included; infinities and NaNs stay what they are. */
import { INPUT, RAW } from "./memory";

/** 2^112 = the ratio of the two formats' exponent biases, 127 - 15. */
const REBIAS = reinterpret<f32>((112 + 127) << 23);

/** The f16 infinity; all NaNs are above. */
const F16_INFINITY: i16 = 0x7c00;
const F32_INFINITY: u32 = 0x7f800000;

/** One f16, in the low 16 bits of `half`, as f32. */
export function f16ToF32(half: u32): f32 {
  const magnitude = half & 0x7fff;
  const shifted = magnitude << 13;
  const sign = (half & 0x8000) << 16;
  if (magnitude >= <u32>F16_INFINITY) return reinterpret<f32>(shifted | F32_INFINITY | sign);
  return reinterpret<f32>(reinterpret<u32>(reinterpret<f32>(shifted) * REBIAS) | sign);
}

/**
 * Four finite f16, sign-extended to the 32-bit lanes. Moving exponent and fraction to their f32 places gives the value times
 * 2^-112, for f16 subnormals as an f32 subnormal; the product with 2^112 is exact. The move leaves copies of the sign in the
 * bits above the exponent: they are cleared.
 */
@inline
function widenFinite(halves: v128): v128 {
  const shifted = v128.and(i32x4.shl(halves, 13), i32x4.splat(0x8fffffff));
  return f32x4.mul(shifted, f32x4.splat(REBIAS));
}

/** Widens `count` f16 at element `sourceElement` of RAW to element `targetElement` of INPUT. */
export function widenF16(sourceElement: i32, targetElement: i32, count: i32): void {
  const start = RAW + ((<usize>sourceElement) << 1);
  const startTarget = INPUT + ((<usize>targetElement) << 2);
  const end = start + ((<usize>count) << 1);
  const vectorsEnd = start + (((<usize>count) & ~7) << 1);
  let source = start;
  let target = startTarget;
  let greatest = i16x8.splat(0);
  for (; source < vectorsEnd; source += 16, target += 32) {
    const eight = v128.load(source);
    greatest = i16x8.max_s(greatest, v128.and(eight, i16x8.splat(0x7fff)));
    v128.store(target, widenFinite(i32x4.extend_low_i16x8_s(eight)));
    v128.store(target, widenFinite(i32x4.extend_high_i16x8_s(eight)), 16);
  }
  // An infinity or NaN will be refused: that case need not be fast, only exact.
  if (v128.any_true(i16x8.gt_s(greatest, i16x8.splat(F16_INFINITY - 1)))) {
    source = start;
    target = startTarget;
  }
  for (; source < end; source += 2, target += 4) {
    store<f32>(target, f16ToF32(load<u16>(source)));
  }
}

/** Widens `count` bf16 at element `sourceElement` of RAW to element `targetElement` of INPUT: bf16 is the upper half of f32. */
export function widenBF16(sourceElement: i32, targetElement: i32, count: i32): void {
  let source = RAW + ((<usize>sourceElement) << 1);
  let target = INPUT + ((<usize>targetElement) << 2);
  const end = source + ((<usize>count) << 1);
  const vectorsEnd = source + (((<usize>count) & ~7) << 1);
  for (; source < vectorsEnd; source += 16, target += 32) {
    const eight = v128.load(source);
    v128.store(target, i32x4.shl(i32x4.extend_low_i16x8_u(eight), 16));
    v128.store(target, i32x4.shl(i32x4.extend_high_i16x8_u(eight), 16), 16);
  }
  for (; source < end; source += 2, target += 4) {
    store<u32>(target, (<u32>load<u16>(source)) << 16);
  }
}
