/**
 * A group: four sub-blocks fitted at once, one to a lane, so that each lane keeps the scalar order of operations. This file
 * lays a group out in scratch memory and takes its first steps; `candidates.ts` takes the rest.
 */
import { clampMost, clampZero, needsNoClamp, roundAnyAndClamp } from "./clamp";
import { GROUPS, GROUP_BYTES } from "./scratch";

// One vector each:
/** Least and greatest x; X_MAX is min + 1 in lanes that are not FITTED, so that their range is not 0. */
export const X_MIN: usize = 0;
export const X_MAX: usize = 16;
/** sum(w) and sum(w * x). */
export const SUM_W: usize = 32;
export const SUM_X: usize = 48;
/** sum(w * x * x); NaN in lanes where `isHopeless` may not be asked. */
export const SUM_X2: usize = 64;
/** Lanes with a range to fit, where x is not constant. The others keep scale 0. */
export const FITTED: usize = 80;
/** The fit so far: error, scale, min. */
export const BEST_ERROR: usize = 96;
export const SCALE: usize = 112;
export const MIN: usize = 128;
/** What the values of the fit so far came from: `round(BEST_INVERSE * (x - BEST_BASE))`. */
export const BEST_INVERSE: usize = 144;
export const BEST_BASE: usize = 160;
/** The candidate in work: `i`, its scale and min, the lanes in which it could be accepted. Its values count from MIN. */
export const TRY_INVERSE: usize = 176;
export const TRY_SCALE: usize = 192;
export const TRY_MIN: usize = 208;
export const TRY_VALID: usize = 224;

// Then 16 or 32 elements: value, weight in the error, quantized value of the candidate in work.
export const ELEMENTS: usize = 256;
export const X: usize = ELEMENTS;
export const WEIGHT: usize = ELEMENTS + 16;
export const QUANT: usize = ELEMENTS + 32;
export const ELEMENT_BYTES: usize = 48;

/** How errors count: `average + |x|` and |x| without importance, `importance * sqrt(meanSquare + x * x)` with it. */
export const BY_AVERAGE = 0;
export const BY_MAGNITUDE = 1;
export const BY_IMPORTANCE = 2;

/** Root mean squares between which `isHopeless` need not think of underflow and overflow. */
const BOUNDED_FROM: f32 = 1e-9;
const BOUNDED_TO: f32 = 1e9;
/** The same with importance, see `isHopeless`. */
const LEAST_WEIGHT: f32 = 1e-12;
const LEAST_SQUARES: f32 = 1e-20;
const MOST_WEIGHT: f32 = 1e9;
const MOST_RANGE: f32 = 1e6;

/** Elements of a sub-block, and bytes that they take in a group. */
let subBlockElements: i32 = 32;
export let elementsBytes: usize = 32 * ELEMENT_BYTES;

/** Sets what the groups of a type have in common. */
export function setSubBlock(elements: i32): void {
  subBlockElements = elements;
  elementsBytes = <usize>elements * ELEMENT_BYTES;
}

/** Address of group 0 .. 7. */
@inline
export function groupAddress(index: usize): usize {
  return GROUPS + index * GROUP_BYTES;
}

/**
 * Steps 1 to 3 of the search on the four sub-blocks at `input`. Returns sum(x * x), which is finite only if every x is.
 *
 * @param weighing a constant of the place of call
 * @param importance where it stands for these sub-blocks, and `meanSquare`, by lanes: BY_IMPORTANCE alone
 */
@inline
export function prepare(group: usize, input: usize, weighing: i32, importance: usize, meanSquare: v128): v128 {
  transpose(group + X, input);
  if (weighing == BY_IMPORTANCE) transpose(group + WEIGHT, importance);
  const sumSquares = measure(group);
  firstGuess(group, sumSquares, weighing, meanSquare);
  return sumSquares;
}

/** Copies a number an element of four sub-blocks so that element e of all four is one vector. */
function transpose(target: usize, source: usize): void {
  const stride = <usize>subBlockElements << 2;
  const end = source + stride;
  for (; source < end; source += 16, target += 4 * ELEMENT_BYTES) {
    transpose4(
      v128.load(source), v128.load(source + stride), v128.load(source + 2 * stride), v128.load(source + 3 * stride),
      target, ELEMENT_BYTES,
    );
  }
}

/** Stores the first lanes of the four as one vector at `target`, then the second, and so on, `stride` apart. */
@inline
export function transpose4(a: v128, b: v128, c: v128, d: v128, target: usize, stride: usize): void {
  const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(target, i64x2.shuffle(ab01, cd01, 0, 2));
  v128.store(target + stride, i64x2.shuffle(ab01, cd01, 1, 3));
  v128.store(target + 2 * stride, i64x2.shuffle(ab23, cd23, 0, 2));
  v128.store(target + 3 * stride, i64x2.shuffle(ab23, cd23, 1, 3));
}

/** min, max and sum(x * x), which it returns. */
function measure(group: usize): v128 {
  let min = v128.load(group, X);
  let max = min;
  let sumSquares = f32x4.splat(0);
  const end = group + elementsBytes;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    min = f32x4.pmin(min, x);
    max = f32x4.pmax(max, x);
    sumSquares = f32x4.add(sumSquares, f32x4.mul(x, x));
  }
  v128.store(group, min, X_MIN);
  v128.store(group, max, X_MAX);
  return sumSquares;
}

/** Weights, their sums, and the error of the fit that spans min to max. */
@inline
function firstGuess(group: usize, sumSquares: v128, weighing: i32, meanSquare: v128): void {
  const one = f32x4.splat(1);
  const max = v128.load(group, X_MAX);
  const min = f32x4.pmin(v128.load(group, X_MIN), f32x4.splat(0));
  const fitted = f32x4.ne(max, min);
  const range = v128.bitselect(f32x4.sub(max, min), one, fitted);
  const inverse = f32x4.div(clampMost(), range);
  const base = weighing == BY_AVERAGE
    ? f32x4.sqrt(f32x4.div(sumSquares, f32x4.splat(<f32>subBlockElements)))
    : meanSquare;

  v128.store(group, fitted, FITTED);
  v128.store(group, v128.bitselect(max, f32x4.add(max, one), fitted), X_MAX);
  v128.store(group, v128.and(f32x4.div(one, inverse), fitted), SCALE);
  v128.store(group, min, MIN);
  v128.store(group, inverse, BEST_INVERSE);
  v128.store(group, min, BEST_BASE);
  v128.store(group, f32x4.splat(0), TRY_VALID);

  const low = f32x4.mul(inverse, f32x4.sub(v128.load(group, X_MIN), min));
  const high = f32x4.mul(inverse, f32x4.sub(max, min));
  if (needsNoClamp(low, high)) weigh(group, weighing, base, inverse, min, range, false);
  else weigh(group, weighing, base, inverse, min, range, true);
}

@inline
function weigh(
  group: usize, weighing: i32, base: v128, inverse: v128, min: v128, range: v128, roundAny: bool,
): void {
  const scale = f32x4.div(f32x4.splat(1), inverse);
  const zero = clampZero();
  const most = clampMost();
  // -0: the sums start from the first element's own term.
  let sumW = f32x4.splat(-0.0);
  let sumX = f32x4.splat(-0.0);
  let sumX2 = f32x4.splat(0);
  let error = f32x4.splat(0);
  let least = f32x4.splat(Infinity);
  const end = group + elementsBytes;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const w = weighing == BY_AVERAGE ? f32x4.add(base, f32x4.abs(x))
      : weighing == BY_MAGNITUDE ? f32x4.abs(x)
      : f32x4.mul(v128.load(element, WEIGHT), f32x4.sqrt(f32x4.add(base, f32x4.mul(x, x))));
    v128.store(element, w, WEIGHT);
    const wx = f32x4.mul(w, x);
    sumW = f32x4.add(sumW, w);
    sumX = f32x4.add(sumX, wx);
    if (weighing != BY_MAGNITUDE) sumX2 = f32x4.add(sumX2, f32x4.mul(wx, x));
    if (weighing == BY_IMPORTANCE) least = f32x4.pmin(least, w);
    const v = f32x4.mul(inverse, f32x4.sub(x, min));
    const q = roundAny ? roundAnyAndClamp(v, zero, most) : f32x4.nearest(v);
    const e = f32x4.sub(f32x4.add(f32x4.mul(scale, q), min), x);
    error = f32x4.add(error, f32x4.mul(w, weighing == BY_MAGNITUDE ? f32x4.abs(e) : f32x4.mul(e, e)));
  }
  v128.store(group, sumW, SUM_W);
  v128.store(group, sumX, SUM_X);
  v128.store(group, error, BEST_ERROR);
  const bounded = weighing == BY_AVERAGE
    ? v128.and(f32x4.gt(base, f32x4.splat(BOUNDED_FROM)), f32x4.lt(base, f32x4.splat(BOUNDED_TO)))
    : v128.and(
      v128.and(f32x4.gt(least, f32x4.splat(LEAST_WEIGHT)), f32x4.gt(sumX2, f32x4.splat(LEAST_SQUARES))),
      v128.and(f32x4.lt(sumW, f32x4.splat(MOST_WEIGHT)), f32x4.lt(range, f32x4.splat(MOST_RANGE))),
    );
  if (weighing != BY_MAGNITUDE) v128.store(group, v128.bitselect(sumX2, f32x4.splat(NaN), bounded), SUM_X2);
}
