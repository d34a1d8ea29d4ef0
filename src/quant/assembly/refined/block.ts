/** What the refined fits share: how a super-block is laid out, and scales of half precision. */
import { BLOCK_INPUT_BYTES } from "../memory";
import { f32ToF16 } from "../pack";
import { f16ToF32 } from "../widen";
import { ELEMENT_BYTES, LEAST_X, MOST_X, WEIGHT, X } from "./scratch";

/** Values beyond it count as this. */
const MOST: f32 = 1099511627776;
/** Ranges and magnitudes below it count as 0. */
export const LEAST: f32 = 9.094947017729282e-13;
/** What a gain must exceed the best one by. */
export const NOTABLY: f32 = 1.00000095367431640625;
/** 2^23: an f32 from here on counts in ones. */
export const WHOLE: f32 = 8388608;
/** The greatest half, and the least normal one. */
const MOST_HALF: u32 = 0x7bff;
const NORMAL_HALF: u32 = 0x0400;

/** Lays out the values of four sub-blocks, and finds the least and the greatest of each. Returns a sum that is finite only
 * if every value is. */
@inline
export function loadValues(group: usize, input: usize, elements: usize): v128 {
  const stride = elements << 2;
  const end = input + stride;
  let sum = f32x4.splat(0);
  let low = f32x4.splat(MOST);
  let high = f32x4.splat(-MOST);
  for (let target = group + X; input < end; input += 16, target += 4 * ELEMENT_BYTES) {
    const a = v128.load(input);
    const b = v128.load(input + stride);
    const c = v128.load(input + 2 * stride);
    const d = v128.load(input + 3 * stride);
    sum = f32x4.add(sum, f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
    storeFour(target, a, b, c, d);
    const e = v128.load(target);
    const f = v128.load(target, ELEMENT_BYTES);
    const g = v128.load(target, 2 * ELEMENT_BYTES);
    const h = v128.load(target, 3 * ELEMENT_BYTES);
    low = f32x4.pmin(f32x4.pmin(low, f32x4.pmin(e, f)), f32x4.pmin(g, h));
    high = f32x4.pmax(f32x4.pmax(high, f32x4.pmax(e, f)), f32x4.pmax(g, h));
  }
  if (v128.any_true(v128.or(f32x4.lt(low, f32x4.splat(-MOST)), f32x4.gt(high, f32x4.splat(MOST))))) {
    boundValues(group, elements);
  }
  v128.store(group, bound(low), LEAST_X);
  v128.store(group, bound(high), MOST_X);
  return sum;
}

function boundValues(group: usize, elements: usize): void {
  const end = group + elements * ELEMENT_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    v128.store(element, bound(v128.load(element, X)), X);
  }
}

@inline
function bound(x: v128): v128 {
  return f32x4.pmax(f32x4.pmin(x, f32x4.splat(MOST)), f32x4.splat(-MOST));
}

/** Lays out the weights of four sub-blocks: their importance times `factor`. */
@inline
export function loadWeights(group: usize, importance: usize, elements: usize, factor: v128): void {
  const stride = elements << 2;
  const end = importance + stride;
  for (let target = group + WEIGHT; importance < end; importance += 16, target += 4 * ELEMENT_BYTES) {
    storeFour(
      target,
      f32x4.mul(v128.load(importance), factor),
      f32x4.mul(v128.load(importance + stride), factor),
      f32x4.mul(v128.load(importance + 2 * stride), factor),
      f32x4.mul(v128.load(importance + 3 * stride), factor),
    );
  }
}

/** The power of two that brings the greatest importance of a super-block to at least 0.5. */
@inline
export function weightFactor(importance: usize): v128 {
  let m = f32x4.splat(0);
  const end = importance + BLOCK_INPUT_BYTES;
  for (; importance < end; importance += 16) m = f32x4.pmax(m, v128.load(importance));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 2, 3, 0, 1));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 1, 0, 3, 2));
  const exponent = i32x4.extract_lane(m, 0) >>> 23;
  return i32x4.splat(max(1, 253 - exponent) << 23);
}

/** The first lanes of the four become one vector, then the second, and so on. */
@inline
function storeFour(target: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(target, i64x2.shuffle(ab01, cd01, 0, 2));
  v128.store(target, i64x2.shuffle(ab01, cd01, 1, 3), ELEMENT_BYTES);
  v128.store(target, i64x2.shuffle(ab23, cd23, 0, 2), 2 * ELEMENT_BYTES);
  v128.store(target, i64x2.shuffle(ab23, cd23, 1, 3), 3 * ELEMENT_BYTES);
}

/** The half nearest to a scale, as a number; where it would be infinite the greatest one. */
export function nearestHalf(scale: f64): f32 {
  return halfOf(f32ToF16(<f32>scale));
}

/** The same of what is not negative, but below the normal halves the next one above. */
export function halfAbove(scale: f32): f32 {
  const pattern = f32ToF16(scale);
  return halfOf(pattern < NORMAL_HALF && f16ToF32(pattern) < scale ? pattern + 1 : pattern);
}

function halfOf(pattern: u32): f32 {
  return f16ToF32((pattern & 0x7fff) > MOST_HALF ? (pattern & 0x8000) | MOST_HALF : pattern);
}
