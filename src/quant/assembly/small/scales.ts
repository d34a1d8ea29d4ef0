/**
 * Blocks of 32 whose scale comes of their least and greatest value. The values are read twice: once for the scales of a batch
 * of blocks, four blocks to a vector, so that divisions overlap; then to be written with them.
 */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { INPUT, SMALL_SCALES, SUB_BLOCK_ELEMENTS, SUB_BLOCK_INPUT_BYTES } from "../memory";
import { toF16 } from "../narrow";
import { greatestOfFour, leastOfFour, reduceFour } from "../reduce";

/** Blocks of a batch: their 8 KiB of values stay in the first-level cache. */
export const BATCH: i32 = 64;

// What is found of a block, 4 bytes each: 1 / d; d as f16; and where blocks have a min, that as f32 and as f16.
export const INVERSES: usize = SMALL_SCALES;
export const HALVES: usize = INVERSES + 4 * <usize>BATCH;
export const MINS: usize = HALVES + 4 * <usize>BATCH;
export const MIN_HALVES: usize = MINS + 4 * <usize>BATCH;

/** From this magnitude on f16 is infinite. */
const F16_OVERFLOW: i32 = 0x477ff000;
const SIGN: i32 = <i32>0x80000000;
const MAGNITUDE: i32 = 0x7fffffff;

/** How d is found. */
export const TOP_BY_8 = 0;
export const TOP_BY_16 = 1;
export const MAGNITUDE_BY_127 = 2;
export const RANGE_BY_15 = 3;
export const RANGE_BY_31 = 4;

/**
 * Scales of `count` blocks from block `first` of INPUT on; `rule` is a constant of each place of call. Four blocks are always
 * done: behind the last block may stand anything. Returns -1, or the index in INPUT of a value that is not finite.
 */
@inline
export function findScales(first: i32, count: i32, rule: i32): i32 {
  const start = INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES;
  let sum = f32x4.splat(0);
  for (let block = 0; block < count; block += 4) {
    const input = start + <usize>block * SUB_BLOCK_INPUT_BYTES;
    const place = <usize>block << 2;
    sum = f32x4.add(sum, reduceFour(input));
    const min = leastOfFour();
    const max = greatestOfFour();
    if (rule == TOP_BY_8) storeScale(place, f32x4.mul(top(input, min, max), f32x4.splat(-0.125)));
    else if (rule == TOP_BY_16) storeScale(place, f32x4.mul(top(input, min, max), f32x4.splat(-0.0625)));
    else if (rule == MAGNITUDE_BY_127) {
      storeScale(place, f32x4.div(f32x4.abs(f32x4.pmax(f32x4.neg(min), max)), f32x4.splat(127)));
    } else {
      // abs: 0 less 0 may be -0 here, where it is not known which zero came first.
      const range = f32x4.abs(f32x4.sub(max, min));
      storeScale(place, f32x4.div(range, f32x4.splat(rule == RANGE_BY_15 ? 15 : 31)));
      storeMin(place, input, min);
    }
  }
  if (!anyLaneNotFinite(sum)) return -1;
  const bad = firstNotFinite(start, count * SUB_BLOCK_ELEMENTS);
  return bad < 0 ? -1 : first * SUB_BLOCK_ELEMENTS + bad;
}

@inline
function storeScale(place: usize, d: v128): void {
  const inverse = f32x4.div(f32x4.splat(1), d);
  v128.store(place, v128.and(inverse, f32x4.ne(d, f32x4.splat(0))), INVERSES);
  v128.store(place, halves(d), HALVES);
}

@inline
function storeMin(place: usize, input: usize, min: v128): void {
  const isZero = f32x4.eq(min, f32x4.splat(0));
  v128.store(place, v128.any_true(isZero) ? firstZeros(input, min) : min, MINS);
  v128.store(place, halves(v128.load(place, MINS)), MIN_HALVES);
}

/** Four numbers as f16, in the low halves of the lanes. */
@inline
function halves(values: v128): v128 {
  const magnitude = i32x4.min_s(v128.and(values, i32x4.splat(MAGNITUDE)), i32x4.splat(F16_OVERFLOW));
  return toF16(v128.or(magnitude, v128.and(values, i32x4.splat(SIGN))));
}

/** Of each of four blocks the first of the values of the largest magnitude. */
@inline
function top(input: usize, min: v128, max: v128): v128 {
  const opposite = f32x4.neg(min);
  if (v128.any_true(f32x4.eq(opposite, max))) return firstTops(input, f32x4.pmax(opposite, max));
  return v128.bitselect(min, max, f32x4.gt(opposite, max));
}

/** The same where both signs have it. A block of zeros has the top 0, not -0. */
function firstTops(input: usize, magnitudes: v128): v128 {
  let tops = f32x4.splat(0);
  tops = f32x4.replace_lane(tops, 0, firstOf(input, f32x4.extract_lane(magnitudes, 0)));
  tops = f32x4.replace_lane(tops, 1, firstOf(input + SUB_BLOCK_INPUT_BYTES, f32x4.extract_lane(magnitudes, 1)));
  tops = f32x4.replace_lane(tops, 2, firstOf(input + 2 * SUB_BLOCK_INPUT_BYTES, f32x4.extract_lane(magnitudes, 2)));
  tops = f32x4.replace_lane(tops, 3, firstOf(input + 3 * SUB_BLOCK_INPUT_BYTES, f32x4.extract_lane(magnitudes, 3)));
  return f32x4.add(tops, f32x4.splat(0));
}

/** Of each of four blocks the least value, which keeps the sign of the block's first zero where it is one. */
function firstZeros(input: usize, mins: v128): v128 {
  mins = f32x4.replace_lane(mins, 0, firstIfZero(input, f32x4.extract_lane(mins, 0)));
  mins = f32x4.replace_lane(mins, 1, firstIfZero(input + SUB_BLOCK_INPUT_BYTES, f32x4.extract_lane(mins, 1)));
  mins = f32x4.replace_lane(mins, 2, firstIfZero(input + 2 * SUB_BLOCK_INPUT_BYTES, f32x4.extract_lane(mins, 2)));
  return f32x4.replace_lane(mins, 3, firstIfZero(input + 3 * SUB_BLOCK_INPUT_BYTES, f32x4.extract_lane(mins, 3)));
}

function firstIfZero(input: usize, min: f32): f32 {
  return min == 0 ? firstOf(input, 0) : min;
}

/** The first of a block's values of this magnitude. */
function firstOf(input: usize, magnitude: f32): f32 {
  for (let element: usize = 0; element < 4 * <usize>SUB_BLOCK_ELEMENTS; element += 4) {
    const value = load<f32>(input + element);
    if (abs(value) == magnitude) return value;
  }
  return 0;
}
