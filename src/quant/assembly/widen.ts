/** Exact widening of 16-bit floats to f32: subnormals included; infinities and NaNs stay what they are. */
import { INPUT, RAW } from "./memory";

/** 2^112 = the ratio of the two formats' exponent biases, 127 - 15. */
const REBIAS = reinterpret<f32>((112 + 127) << 23);

/** The f16 infinity, its fraction moved to where f32 keeps it; all NaNs are above. */
const F16_INFINITY_SHIFTED: u32 = 0x7c00 << 13;
const F32_INFINITY: u32 = 0x7f800000;

/** One f16, in the low 16 bits of `half`, as f32. The steps are those of `widenHalves`. */
export function f16ToF32(half: u32): f32 {
  const shifted = (half & 0x7fff) << 13;
  const sign = (half & 0x8000) << 16;
  if (shifted >= F16_INFINITY_SHIFTED) return reinterpret<f32>(shifted | F32_INFINITY | sign);
  return reinterpret<f32>(reinterpret<u32>(reinterpret<f32>(shifted) * REBIAS) | sign);
}

/**
 * Four f16 in the low halves of the 32-bit lanes. Moving exponent and fraction to their f32 places gives the value times
 * 2^-112, for f16 subnormals as an f32 subnormal; the product with 2^112 is exact.
 */
@inline
function widenHalves(halves: v128): v128 {
  const shifted = i32x4.shl(v128.and(halves, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(halves, i32x4.splat(0x8000)), 16);
  const notFinite = i32x4.gt_s(shifted, i32x4.splat(F16_INFINITY_SHIFTED - 1));
  const magnitude = f32x4.mul(shifted, f32x4.splat(REBIAS));
  return v128.or(v128.or(magnitude, sign), v128.and(notFinite, i32x4.splat(F32_INFINITY)));
}

/** Widens `count` f16 at element `sourceElement` of RAW to element `targetElement` of INPUT. */
export function widenF16(sourceElement: i32, targetElement: i32, count: i32): void {
  let source = RAW + ((<usize>sourceElement) << 1);
  let target = INPUT + ((<usize>targetElement) << 2);
  const end = source + ((<usize>count) << 1);
  const vectorsEnd = source + (((<usize>count) & ~7) << 1);
  for (; source < vectorsEnd; source += 16, target += 32) {
    const eight = v128.load(source);
    v128.store(target, widenHalves(i32x4.extend_low_i16x8_u(eight)));
    v128.store(target, widenHalves(i32x4.extend_high_i16x8_u(eight)), 16);
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
