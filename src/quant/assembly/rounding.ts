/** llama.cpp's `round`, four lanes at a time, and a constant of the other rounding. */

/** 1.5 * 2^23: added to |v| < 2^22, it leaves v, rounded to nearest even, in the low bits of the sum. */
const MAGIC: f32 = 12582912;
const FRACTION_BITS = 0x7fffff;
/** The low 23 bits of MAGIC's own pattern. */
const MAGIC_FRACTION = 0x400000;

/** `round(v)` for every v, as integers, unclamped: the bit arithmetic also decides what infinity and NaN give. */
@inline
export function roundBits(v: v128): v128 {
  const fraction = v128.and(f32x4.add(v, f32x4.splat(MAGIC)), i32x4.splat(FRACTION_BITS));
  return i32x4.sub(fraction, i32x4.splat(MAGIC_FRACTION));
}

/**
 * Rounding half away from zero. This is the largest f32 below one half: `floor(v + this)` does so for v >= 0, also where
 * v + 0.5 would round up.
 */
export const JUST_BELOW_HALF: f32 = 0.49999997;
