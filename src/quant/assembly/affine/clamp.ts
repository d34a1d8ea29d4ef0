/**
 * `clamp(round(v), 0, most)`, four lanes at a time, in the forms that the fits need. All agree where they are allowed; they
 * differ in what they cost and in the range they hold for.
 */
import { roundBits } from "../rounding";
import { CLAMPS } from "./scratch";

/** CLAMPS holds a vector of 0, and at these places one of the greatest value and one of that plus 0.5. */
const MOST: usize = 16;
const LIMIT: usize = 32;

/** Below this, `f32x4.nearest` is `round`; the true limit is 2^22. */
const NEAREST_LIMIT: f32 = 2097152;

/** Writes what CLAMPS holds: V8 would build these constants anew for every vector. */
export function storeClamps(most: f32): void {
  v128.store(CLAMPS, f32x4.splat(0));
  v128.store(CLAMPS, f32x4.splat(most), MOST);
  v128.store(CLAMPS, f32x4.splat(most + <f32>0.5), LIMIT);
}

@inline
export function clampZero(): v128 {
  return v128.load(CLAMPS);
}

@inline
export function clampMost(): v128 {
  return v128.load(CLAMPS, MOST);
}

/** Between 0 and `most`. Patterns, compared as integers, are ordered as floats as soon as one side is not negative; that
 * leaves the processor's float adders to the sums. */
@inline
export function clamp(v: v128, zero: v128, most: v128): v128 {
  return i32x4.min_s(i32x4.max_s(v, zero), most);
}

/** For every v. */
@inline
export function roundAnyAndClamp(v: v128, zero: v128, most: v128): v128 {
  return clamp(f32x4.convert_i32x4_s(roundBits(v)), zero, most);
}

/** For |v| < NEAREST_LIMIT. Clamping first is the same: rounding is monotone and keeps 0 and `most`. */
@inline
export function roundAndClamp(v: v128, zero: v128, most: v128): v128 {
  return f32x4.nearest(clamp(v, zero, most));
}

/** The same where only values above `most` can occur. */
@inline
export function roundAndCap(v: v128, most: v128): v128 {
  return f32x4.nearest(i32x4.min_s(v, most));
}

/** Whether `roundAndClamp` may be used for every v between two bounds, in all lanes. False for NaN. */
@inline
export function nearestHolds(a: v128, b: v128): bool {
  const limit = f32x4.splat(NEAREST_LIMIT);
  return i32x4.all_true(v128.and(f32x4.lt(f32x4.abs(a), limit), f32x4.lt(f32x4.abs(b), limit)));
}

/**
 * Whether every v between two bounds, whichever is the lower, rounds to 0 .. `most` without a clamp in all lanes. -0.5 rounds
 * to -0, as good as 0 in every sum; `most` is odd, so `most` + 0.5 would round up.
 */
@inline
export function needsNoClamp(a: v128, b: v128): bool {
  return areBetween(a, b, v128.load(CLAMPS, LIMIT));
}

/** Whether a cap at `most` is all the clamp that they need, within NEAREST_LIMIT. */
@inline
export function needsOnlyCap(a: v128, b: v128): bool {
  return areBetween(a, b, f32x4.splat(NEAREST_LIMIT));
}

@inline
function areBetween(a: v128, b: v128, limit: v128): bool {
  const least = f32x4.splat(-0.5);
  const areAbove = v128.and(f32x4.ge(a, least), f32x4.ge(b, least));
  return i32x4.all_true(v128.and(areAbove, v128.and(f32x4.lt(a, limit), f32x4.lt(b, limit))));
}
