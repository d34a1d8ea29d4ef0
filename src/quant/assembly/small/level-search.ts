/**
 * The scale of IQ4_NL and IQ4_XS: 16 candidates, of four times 32 values at once, one to a lane.
 *
 * 15 of them put the value of the largest magnitude at -134 to -120. Over these every value moves by an eighth of itself at
 * the most, and middles between neighbouring levels are further apart than that: a value has one level or two neighbouring
 * ones, and the middle between them tells which. So the levels are looked for with the first and the last of the candidates
 * only, and what each value adds to the sums is known for both before the sums are made.
 */
import { LEVEL_GROUPS, SUB_BLOCK_ELEMENTS, SUB_BLOCK_INPUT_BYTES } from "../memory";
import { ABOVE, LEVELS, levelOf, nearestCode } from "./levels";

// An element of a group, one vector each: value, weight, the middle between its two levels; and w * q * x and w * q * q with the
// lower level, and in which bits they differ with the upper one.
const X: usize = 0;
const WEIGHT: usize = 16;
const MIDDLE: usize = 32;
const LOWER_XQ: usize = 48;
const OTHER_XQ: usize = 64;
const LOWER_QQ: usize = 80;
const OTHER_QQ: usize = 96;
const ELEMENT_BYTES: usize = 112;
const ELEMENTS_BYTES: usize = <usize>SUB_BLOCK_ELEMENTS * ELEMENT_BYTES;

// Behind the elements: the best so far, and the greatest magnitudes' values.
const SCALE: usize = ELEMENTS_BYTES;
const BEST: usize = SCALE + 16;
const TOP: usize = BEST + 16;

/** Below this, values count as 0. */
const LEAST_MAGNITUDE: f32 = 1e-15;
/** The lowest level, negated. */
const LARGEST_LEVEL: f32 = 127;
/** Where the candidates put the value of the largest magnitude: from here up in steps of 1. */
const FIRST_PLACE: f32 = -134;
const LAST_PLACE: f32 = -120;

/** Copies four times 32 values, so that element e of all four is one vector. Returns a sum, finite only if all are. */
@inline
export function loadValues(input: usize): v128 {
  transpose(LEVEL_GROUPS + X, input);
  let sum = f32x4.splat(0);
  const end = LEVEL_GROUPS + ELEMENTS_BYTES;
  for (let element: usize = LEVEL_GROUPS; element < end; element += ELEMENT_BYTES) {
    sum = f32x4.add(sum, v128.load(element, X));
  }
  return sum;
}

/** sum(x * x) of each. */
@inline
export function squaresOfEach(): v128 {
  let sum = f32x4.splat(0);
  const end = LEVEL_GROUPS + ELEMENTS_BYTES;
  for (let element: usize = LEVEL_GROUPS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    sum = f32x4.add(sum, f32x4.mul(x, x));
  }
  return sum;
}

/** Weights without importance: x * x. */
@inline
export function weighPlainly(): void {
  const end = LEVEL_GROUPS + ELEMENTS_BYTES;
  for (let element: usize = LEVEL_GROUPS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    v128.store(element, f32x4.mul(x, x), WEIGHT);
  }
}

/** Weights with importance: `importance * sqrt(meanSquare + x * x)`. */
@inline
export function weigh(importance: usize, meanSquare: v128): void {
  transpose(LEVEL_GROUPS + WEIGHT, importance);
  const end = LEVEL_GROUPS + ELEMENTS_BYTES;
  for (let element: usize = LEVEL_GROUPS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const root = f32x4.sqrt(f32x4.add(meanSquare, f32x4.mul(x, x)));
    v128.store(element, f32x4.mul(v128.load(element, WEIGHT), root), WEIGHT);
  }
}

/** The best scale of each, after its values and weights are there. */
export function searchScales(): v128 {
  const group = LEVEL_GROUPS;
  const top = firstOfLargestMagnitude();
  const counts = f32x4.ge(f32x4.abs(top), f32x4.splat(LEAST_MAGNITUDE));
  // Lanes that do not count are searched for nothing, with a top that does no harm.
  v128.store(group, v128.bitselect(top, f32x4.splat(1), counts), TOP);
  prepare();
  for (let place = FIRST_PLACE; place <= LAST_PLACE; place += 3) tryThree(place);
  return v128.and(v128.load(group, SCALE), counts);
}

@inline
function firstOfLargestMagnitude(): v128 {
  let top = f32x4.splat(0);
  let magnitude = f32x4.splat(0);
  const end = LEVEL_GROUPS + ELEMENTS_BYTES;
  for (let element: usize = LEVEL_GROUPS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const absolute = f32x4.abs(x);
    top = v128.bitselect(x, top, f32x4.gt(absolute, magnitude));
    magnitude = f32x4.pmax(magnitude, absolute);
  }
  return top;
}

/** The first candidate, which puts the largest value at 127; and what the others need of each element. */
@inline
function prepare(): void {
  const group = LEVEL_GROUPS;
  const levels = v128.load(LEVELS);
  const above = v128.load(ABOVE);
  const top = v128.load(group, TOP);
  const inverse = f32x4.div(f32x4.splat(1), f32x4.div(top, f32x4.splat(LARGEST_LEVEL)));
  const first = f32x4.div(f32x4.splat(FIRST_PLACE), top);
  const last = f32x4.div(f32x4.splat(LAST_PLACE), top);
  let sumXQ = f32x4.splat(0);
  let sumQQ = f32x4.splat(0);
  const end = group + ELEMENTS_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const w = v128.load(element, WEIGHT);
    const q = levelOf(nearestCode(f32x4.mul(inverse, x), levels, above), levels);
    const wq = f32x4.mul(w, q);
    sumXQ = f32x4.add(sumXQ, f32x4.mul(wq, x));
    sumQQ = f32x4.add(sumQQ, f32x4.mul(wq, q));

    const a = levelOf(nearestCode(f32x4.mul(first, x), levels, above), levels);
    const b = levelOf(nearestCode(f32x4.mul(last, x), levels, above), levels);
    v128.store(element, f32x4.mul(f32x4.add(a, b), f32x4.splat(0.5)), MIDDLE);
    const lower = f32x4.pmin(a, b);
    const upper = f32x4.pmax(a, b);
    const lowerWQ = f32x4.mul(w, lower);
    const upperWQ = f32x4.mul(w, upper);
    const lowerXQ = f32x4.mul(lowerWQ, x);
    const lowerQQ = f32x4.mul(lowerWQ, lower);
    v128.store(element, lowerXQ, LOWER_XQ);
    v128.store(element, lowerQQ, LOWER_QQ);
    v128.store(element, v128.xor(lowerXQ, f32x4.mul(upperWQ, x)), OTHER_XQ);
    v128.store(element, v128.xor(lowerQQ, f32x4.mul(upperWQ, upper)), OTHER_QQ);
  }
  const scale = v128.and(f32x4.div(sumXQ, sumQQ), f32x4.gt(sumQQ, f32x4.splat(0)));
  v128.store(group, scale, SCALE);
  v128.store(group, f32x4.mul(scale, sumXQ), BEST);
}

/** Three candidates in one loop: six sums, so that no addition waits for another. */
@inline
function tryThree(place: f32): void {
  const group = LEVEL_GROUPS;
  const top = v128.load(group, TOP);
  const inverseA = f32x4.div(f32x4.splat(place), top);
  const inverseB = f32x4.div(f32x4.splat(place + 1), top);
  const inverseC = f32x4.div(f32x4.splat(place + 2), top);
  let xqA = f32x4.splat(0);
  let qqA = f32x4.splat(0);
  let xqB = f32x4.splat(0);
  let qqB = f32x4.splat(0);
  let xqC = f32x4.splat(0);
  let qqC = f32x4.splat(0);
  const end = group + ELEMENTS_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const middle = v128.load(element, MIDDLE);
    const isUpperA = f32x4.ge(f32x4.mul(inverseA, x), middle);
    const isUpperB = f32x4.ge(f32x4.mul(inverseB, x), middle);
    const isUpperC = f32x4.ge(f32x4.mul(inverseC, x), middle);
    const lowerXQ = v128.load(element, LOWER_XQ);
    const otherXQ = v128.load(element, OTHER_XQ);
    xqA = f32x4.add(xqA, v128.xor(lowerXQ, v128.and(otherXQ, isUpperA)));
    xqB = f32x4.add(xqB, v128.xor(lowerXQ, v128.and(otherXQ, isUpperB)));
    xqC = f32x4.add(xqC, v128.xor(lowerXQ, v128.and(otherXQ, isUpperC)));
    const lowerQQ = v128.load(element, LOWER_QQ);
    const otherQQ = v128.load(element, OTHER_QQ);
    qqA = f32x4.add(qqA, v128.xor(lowerQQ, v128.and(otherQQ, isUpperA)));
    qqB = f32x4.add(qqB, v128.xor(lowerQQ, v128.and(otherQQ, isUpperB)));
    qqC = f32x4.add(qqC, v128.xor(lowerQQ, v128.and(otherQQ, isUpperC)));
  }
  accept(xqA, qqA);
  accept(xqB, qqB);
  accept(xqC, qqC);
}

/** Puts a candidate in the place of the best so far, in the lanes where it is better. */
@inline
function accept(sumXQ: v128, sumQQ: v128): void {
  const group = LEVEL_GROUPS;
  const best = v128.load(group, BEST);
  const isBetter = f32x4.gt(f32x4.mul(sumXQ, sumXQ), f32x4.mul(best, sumQQ));
  const counts = v128.and(isBetter, f32x4.gt(sumQQ, f32x4.splat(0)));
  const scale = f32x4.div(sumXQ, sumQQ);
  v128.store(group, v128.bitselect(scale, v128.load(group, SCALE), counts), SCALE);
  v128.store(group, v128.bitselect(f32x4.mul(scale, sumXQ), best, counts), BEST);
}

@inline
function transpose(target: usize, input: usize): void {
  const end = input + SUB_BLOCK_INPUT_BYTES;
  for (; input < end; input += 16, target += 4 * ELEMENT_BYTES) {
    const a = v128.load(input);
    const b = v128.load(input, SUB_BLOCK_INPUT_BYTES);
    const c = v128.load(input, 2 * SUB_BLOCK_INPUT_BYTES);
    const d = v128.load(input, 3 * SUB_BLOCK_INPUT_BYTES);
    const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
    const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
    const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
    const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
    v128.store(target, i64x2.shuffle(ab01, cd01, 0, 2));
    v128.store(target, i64x2.shuffle(ab01, cd01, 1, 3), ELEMENT_BYTES);
    v128.store(target, i64x2.shuffle(ab23, cd23, 0, 2), 2 * ELEMENT_BYTES);
    v128.store(target, i64x2.shuffle(ab23, cd23, 1, 3), 3 * ELEMENT_BYTES);
  }
}
