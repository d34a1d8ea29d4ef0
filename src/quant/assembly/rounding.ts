/**
 * q4k.md's `round`, four lanes at a time, in the forms that the fits need. All agree where they are allowed; they differ in
 * what they cost and in the range they hold for.
 */
import { CLAMPS } from "./memory";

/** CLAMPS holds a vector of 0, and at CLAMP_MOST one of MAX_VALUE. */
export const CLAMP_MOST: usize = 16;

/** 1.5 * 2^23: added to |v| < 2^22, it leaves v, rounded to nearest even, in the low bits of the sum. */
const MAGIC: f32 = 12582912;
const FRACTION_BITS = 0x7fffff;
/** The low 23 bits of MAGIC's own pattern. */
const MAGIC_FRACTION = 0x400000;

/** The largest value of 4 bits. */
export const MAX_VALUE: f32 = 15;

/**
 * "minmax" rounds half away from zero. This is the largest f32 below one half: `floor(v + this)` does so for v >= 0, also
 * where v + 0.5 would round up.
 */
export const JUST_BELOW_HALF: f32 = 0.49999997;

/** Below this, `f32x4.nearest` is `round`; the true limit is 2^22. */
const NEAREST_LIMIT: f32 = 2097152;

/** `round(v)` for every v, as integers, unclamped: the bit arithmetic also decides what infinity and NaN give. */
@inline
export function roundBits(v: v128): v128 {
  const fraction = v128.and(f32x4.add(v, f32x4.splat(MAGIC)), i32x4.splat(FRACTION_BITS));
  return i32x4.sub(fraction, i32x4.splat(MAGIC_FRACTION));
}

/** `clamp(round(v), 0, 15)` for every v. */
@inline
export function roundAnyAndClamp(v: v128): v128 {
  const q = i32x4.min_s(i32x4.max_s(roundBits(v), i32x4.splat(0)), i32x4.splat(<i32>MAX_VALUE));
  return f32x4.convert_i32x4_s(q);
}

/**
 * `clamp(round(v), 0, 15)` for |v| < NEAREST_LIMIT. Clamping first is the same: rounding is monotone and keeps 0 and 15.
 * The clamp compares patterns as integers, which orders them as floats as soon as one side is not negative; that leaves the
 * processor's float adders to the sums. `zero` and `most` (15) come from the caller, which loads them from CLAMPS: V8 would
 * build a constant anew for every vector.
 */
@inline
export function roundAndClamp(v: v128, zero: v128, most: v128): v128 {
  return f32x4.nearest(i32x4.min_s(i32x4.max_s(v, zero), most));
}

/** The same where only values above 15 can occur. */
@inline
export function roundAndCap(v: v128, most: v128): v128 {
  return f32x4.nearest(i32x4.min_s(v, most));
}

/** Whether `roundAndClamp` may be used between `low` and `high`, in all lanes. False for NaN. */
@inline
export function nearestHolds(low: v128, high: v128): bool {
  const limit = f32x4.splat(NEAREST_LIMIT);
  return i32x4.all_true(v128.and(f32x4.lt(f32x4.abs(low), limit), f32x4.lt(f32x4.abs(high), limit)));
}

/**
 * Whether every v between `low` and `high`, in all lanes, rounds to 0 .. 15 without a clamp. -0.5 rounds to -0, as good as 0
 * in every sum; 15.5 would round to 16.
 */
@inline
export function needsNoClamp(low: v128, high: v128): bool {
  return i32x4.all_true(v128.and(f32x4.ge(low, f32x4.splat(-0.5)), f32x4.lt(high, f32x4.splat(15.5))));
}

/** Whether a cap at 15 is all the clamp that they need, within NEAREST_LIMIT. */
@inline
export function needsOnlyCap(low: v128, high: v128): bool {
  return i32x4.all_true(v128.and(f32x4.ge(low, f32x4.splat(-0.5)), f32x4.lt(high, f32x4.splat(NEAREST_LIMIT))));
}

/** Writes what CLAMPS holds. */
export function storeClamps(): void {
  v128.store(CLAMPS, f32x4.splat(0));
  v128.store(CLAMPS, f32x4.splat(MAX_VALUE), CLAMP_MOST);
}
