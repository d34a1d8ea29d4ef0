/**
 * A group: four sub-blocks fitted at once, one to a lane, so that each lane keeps the scalar order of operations. Half a
 * super-block. This file lays a group out in scratch memory and takes its first steps; `candidates.ts` takes the rest.
 */
import { GROUPS, SUB_BLOCK_ELEMENTS, SUB_BLOCK_INPUT_BYTES } from "./memory";
import { MAX_VALUE, needsNoClamp, roundAnyAndClamp } from "./rounding";

// An element of a group: its value, its weight in the error, the quantized value of the candidate in work.
export const X: usize = 0;
export const WEIGHT: usize = 16;
export const QUANT: usize = 32;
export const ELEMENT_BYTES: usize = 48;
export const ELEMENTS_BYTES: usize = <usize>SUB_BLOCK_ELEMENTS * ELEMENT_BYTES;

// After the elements, one vector each:
/** Least and greatest x; X_MAX is min + 1 in lanes that are not FITTED, so that their range is not 0. */
export const X_MIN: usize = ELEMENTS_BYTES;
export const X_MAX: usize = X_MIN + 16;
/** sum(w) and sum(w * x). */
export const SUM_W: usize = X_MAX + 16;
export const SUM_X: usize = SUM_W + 16;
/** Lanes with a range to fit, where x is not constant. The others keep scale 0. */
export const FITTED: usize = SUM_X + 16;
/** The fit so far: error, scale, min. */
export const BEST_ERROR: usize = FITTED + 16;
export const SCALE: usize = BEST_ERROR + 16;
export const MIN: usize = SCALE + 16;
/** What the values of the fit so far came from: `round(BEST_INVERSE * (x - BEST_BASE))`. */
export const BEST_INVERSE: usize = MIN + 16;
export const BEST_BASE: usize = BEST_INVERSE + 16;
/** The candidate in work: `i`, the min its values count from, its scale and min, the lanes in which it could be accepted. */
export const TRY_INVERSE: usize = BEST_BASE + 16;
export const TRY_BASE: usize = TRY_INVERSE + 16;
export const TRY_SCALE: usize = TRY_BASE + 16;
export const TRY_MIN: usize = TRY_SCALE + 16;
export const TRY_VALID: usize = TRY_MIN + 16;
/** sum(w * x * x); NaN in lanes where `isHopeless` may not be asked. */
export const SUM_X2: usize = TRY_VALID + 16;

const GROUP_BYTES: usize = ELEMENTS_BYTES + 17 * 16;

/** Root mean squares between which `isHopeless` need not think of underflow and overflow. */
const BOUNDED_FROM: f32 = 1e-9;
const BOUNDED_TO: f32 = 1e9;

/** Address of group 0 .. 3. */
@inline
export function groupAddress(index: usize): usize {
  return GROUPS + index * GROUP_BYTES;
}

/** Steps 1 to 3 of "search" on four sub-blocks. Returns sum(x * x), which is finite only if every x is. */
@inline
export function prepare(group: usize, input: usize): v128 {
  transpose(group, input);
  const sumSquares = measure(group);
  firstGuess(group, sumSquares);
  return sumSquares;
}

/** Copies four sub-blocks so that element e of all four is one vector. */
@inline
function transpose(group: usize, input: usize): void {
  const end = input + SUB_BLOCK_INPUT_BYTES;
  for (; input < end; input += 16, group += 4 * ELEMENT_BYTES) {
    const a = v128.load(input);
    const b = v128.load(input, SUB_BLOCK_INPUT_BYTES);
    const c = v128.load(input, 2 * SUB_BLOCK_INPUT_BYTES);
    const d = v128.load(input, 3 * SUB_BLOCK_INPUT_BYTES);
    const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
    const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
    const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
    const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
    v128.store(group, i64x2.shuffle(ab01, cd01, 0, 2));
    v128.store(group, i64x2.shuffle(ab01, cd01, 1, 3), ELEMENT_BYTES);
    v128.store(group, i64x2.shuffle(ab23, cd23, 0, 2), 2 * ELEMENT_BYTES);
    v128.store(group, i64x2.shuffle(ab23, cd23, 1, 3), 3 * ELEMENT_BYTES);
  }
}

/** min, max and sum(x * x), which it returns. */
@inline
function measure(group: usize): v128 {
  let min = v128.load(group, X);
  let max = min;
  let sumSquares = f32x4.splat(0);
  const end = group + ELEMENTS_BYTES;
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
function firstGuess(group: usize, sumSquares: v128): void {
  const one = f32x4.splat(1);
  const max = v128.load(group, X_MAX);
  const min = f32x4.pmin(v128.load(group, X_MIN), f32x4.splat(0));
  const fitted = f32x4.ne(max, min);
  const range = v128.bitselect(f32x4.sub(max, min), one, fitted);
  const inverse = f32x4.div(f32x4.splat(MAX_VALUE), range);
  const average = f32x4.sqrt(f32x4.div(sumSquares, f32x4.splat(<f32>SUB_BLOCK_ELEMENTS)));

  v128.store(group, fitted, FITTED);
  v128.store(group, v128.bitselect(max, f32x4.add(max, one), fitted), X_MAX);
  v128.store(group, v128.and(f32x4.div(one, inverse), fitted), SCALE);
  v128.store(group, min, MIN);
  v128.store(group, inverse, BEST_INVERSE);
  v128.store(group, min, BEST_BASE);
  v128.store(group, f32x4.splat(0), TRY_VALID);

  const low = f32x4.mul(inverse, f32x4.sub(v128.load(group, X_MIN), min));
  const high = f32x4.mul(inverse, f32x4.sub(max, min));
  if (needsNoClamp(low, high)) weigh(group, average, inverse, min, false);
  else weigh(group, average, inverse, min, true);
}

@inline
function weigh(group: usize, average: v128, inverse: v128, min: v128, roundAny: bool): void {
  const scale = f32x4.div(f32x4.splat(1), inverse);
  let sumW = f32x4.splat(0);
  let sumX = f32x4.splat(0);
  let sumX2 = f32x4.splat(0);
  let error = f32x4.splat(0);
  const end = group + ELEMENTS_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const w = f32x4.add(average, f32x4.abs(x));
    v128.store(element, w, WEIGHT);
    const wx = f32x4.mul(w, x);
    sumW = f32x4.add(sumW, w);
    sumX = f32x4.add(sumX, wx);
    sumX2 = f32x4.add(sumX2, f32x4.mul(wx, x));
    const v = f32x4.mul(inverse, f32x4.sub(x, min));
    const q = roundAny ? roundAnyAndClamp(v) : f32x4.nearest(v);
    const e = f32x4.sub(f32x4.add(f32x4.mul(scale, q), min), x);
    error = f32x4.add(error, f32x4.mul(w, f32x4.mul(e, e)));
  }
  const bounded = v128.and(f32x4.gt(average, f32x4.splat(BOUNDED_FROM)), f32x4.lt(average, f32x4.splat(BOUNDED_TO)));
  v128.store(group, sumW, SUM_W);
  v128.store(group, sumX, SUM_X);
  v128.store(group, v128.bitselect(sumX2, f32x4.splat(NaN), bounded), SUM_X2);
  v128.store(group, error, BEST_ERROR);
}
