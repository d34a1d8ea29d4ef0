/** The values of fitted sub-blocks, as bytes, 16 at a time. */
import { clamp, clampMost, clampZero, nearestHolds, roundAnyAndClamp } from "./clamp";
import { BEST_BASE, BEST_INVERSE, X_MAX, X_MIN, groupAddress } from "./group";
import { DECODED, DECODED_MINS } from "./scratch";

/** 2^23: an f32 from here on counts in ones. `v + this` is rounded as `nearest(v)` is, and its pattern ends in the number. */
const WHOLE: f32 = 8388608;

/**
 * Stores what scales and mins of four sub-blocks decode to, as those with `index` and the next. Returns whether `plainLevels`
 * holds with them: no scale is 0 and no quotient is out of its range.
 *
 * @param scales whole numbers, as integers; so are `mins`
 */
@inline
export function decode(group: usize, index: usize, d: f32, dmin: f32, scales: v128, mins: v128): bool {
  const scale = f32x4.mul(f32x4.splat(d), f32x4.convert_i32x4_s(scales));
  const min = f32x4.mul(f32x4.splat(dmin), f32x4.convert_i32x4_s(mins));
  v128.store(DECODED + (index << 2), scale);
  v128.store(DECODED + (index << 2), min, DECODED_MINS);
  // A scale of 0 makes these infinite or NaN.
  const low = f32x4.div(f32x4.add(v128.load(group, X_MIN), min), scale);
  const high = f32x4.div(f32x4.add(v128.load(group, X_MAX), min), scale);
  return nearestHolds(low, high);
}

/** `clamp(round((x + min) / scale), 0, most)` of 16 values of sub-block `index`. */
@inline
export function plainLevels(values: usize, index: usize): v128 {
  const scale = v128.load32_splat(DECODED + (index << 2));
  const min = v128.load32_splat(DECODED + (index << 2), DECODED_MINS);
  return narrow(
    plainLevel(v128.load(values), scale, min), plainLevel(v128.load(values, 16), scale, min),
    plainLevel(v128.load(values, 32), scale, min), plainLevel(v128.load(values, 48), scale, min),
  );
}

@inline
function plainLevel(x: v128, scale: v128, min: v128): v128 {
  const v = clamp(f32x4.div(f32x4.add(x, min), scale), clampZero(), clampMost());
  return f32x4.add(v, f32x4.splat(WHOLE));
}

/** The same for every input. Where the decoded scale is 0, the values of the search stay. */
export function anyLevels(values: usize, index: usize, firstGroup: usize): v128 {
  const scale = v128.load32_splat(DECODED + (index << 2));
  if (f32x4.extract_lane(scale, 0) == 0) return searchLevels(values, index, firstGroup);
  const min = v128.load32_splat(DECODED + (index << 2), DECODED_MINS);
  return narrow(
    anyLevel(f32x4.div(f32x4.add(v128.load(values), min), scale)),
    anyLevel(f32x4.div(f32x4.add(v128.load(values, 16), min), scale)),
    anyLevel(f32x4.div(f32x4.add(v128.load(values, 32), min), scale)),
    anyLevel(f32x4.div(f32x4.add(v128.load(values, 48), min), scale)),
  );
}

/** 16 values of sub-block `index` of the groups from `firstGroup` on, as the search left them. */
export function searchLevels(values: usize, index: usize, firstGroup: usize): v128 {
  const lane = groupAddress(firstGroup + (index >> 2)) + ((index & 3) << 2);
  const inverse = v128.load32_splat(lane, BEST_INVERSE);
  const base = v128.load32_splat(lane, BEST_BASE);
  return narrow(
    anyLevel(f32x4.mul(inverse, f32x4.sub(v128.load(values), base))),
    anyLevel(f32x4.mul(inverse, f32x4.sub(v128.load(values, 16), base))),
    anyLevel(f32x4.mul(inverse, f32x4.sub(v128.load(values, 32), base))),
    anyLevel(f32x4.mul(inverse, f32x4.sub(v128.load(values, 48), base))),
  );
}

@inline
function anyLevel(v: v128): v128 {
  return f32x4.add(roundAnyAndClamp(v, clampZero(), clampMost()), f32x4.splat(WHOLE));
}

/** The low bytes of the four vectors' lanes. */
@inline
function narrow(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i8x16.shuffle(a, b, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  const cd = i8x16.shuffle(c, d, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  return i64x2.shuffle(ab, cd, 0, 2);
}
