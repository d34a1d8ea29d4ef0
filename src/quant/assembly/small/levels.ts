/**
 * The 16 levels of IQ4_NL and IQ4_XS: which is nearest to a number, four numbers at a time. A level's code is its index.
 */
import { LEVEL_TABLES } from "../memory";

// What LEVEL_TABLES holds: the levels, and behind each code the level above it; all 128 higher, so that they are positive.
export const LEVELS: usize = LEVEL_TABLES;
export const ABOVE: usize = LEVEL_TABLES + 16;

/**
 * `ROUGH_AT_0 + v * (SLOPE - BEND * |v|)`, rounded, is a rough code: of the middles between neighbouring levels, that of levels
 * n and n + 1 is the only one whose rough code is n. So the code is the rough one or that above it, as v is below that middle
 * or not. From -135 to 135, rough codes are 0 to 14.
 */
const ROUGH_AT_0: f32 = 7;
const SLOPE: f32 = 0.094;
const BEND: f32 = 0.000288;
const MOST: f32 = 135;

/**
 * 1.5 * 2^23 and 2^12: the pattern of its sum with a small whole number has that number as its lowest byte. The others are
 * above 15, for which a swizzle gives 0.
 */
const TO_INDEX: f32 = 12582912 + 4096;

/** Writes what LEVEL_TABLES holds. */
export function storeLevels(): void {
  v128.store(LEVELS, i8x16(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15));
  v128.store(ABOVE, i8x16(24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15, -15));
}

/** The code of the level that is nearest, of two the upper one, as the lowest byte of each lane. For |v| <= 135. */
@inline
export function nearestCode(v: v128, levels: v128, above: v128): v128 {
  const slope = f32x4.sub(f32x4.splat(SLOPE), f32x4.mul(f32x4.abs(v), f32x4.splat(BEND)));
  const rough = f32x4.add(f32x4.mul(v, slope), f32x4.splat(TO_INDEX + ROUGH_AT_0));
  // Twice the middle, and 256. All of this is exact.
  const sum = i32x4.add(i8x16.swizzle(levels, rough), i8x16.swizzle(above, rough));
  const twice = f32x4.sub(f32x4.convert_i32x4_s(sum), f32x4.splat(256));
  return i32x4.sub(rough, f32x4.ge(f32x4.add(v, v), twice));
}

/** The same for every v. NaN has the last code. */
@inline
export function nearestCodeOfAny(v: v128, levels: v128, above: v128): v128 {
  return nearestCode(f32x4.pmax(f32x4.pmin(f32x4.splat(MOST), v), f32x4.splat(-MOST)), levels, above);
}

/** The level of a code that is the lowest byte of its lane, as f32. */
@inline
export function levelOf(code: v128, levels: v128): v128 {
  return f32x4.sub(f32x4.convert_i32x4_s(i8x16.swizzle(levels, code)), f32x4.splat(128));
}
