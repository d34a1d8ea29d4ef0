/**
 * Step 4 of "search": 21 candidates, each two passes over a group. The first pass sums what gives the candidate's scale and
 * min, the second sums its error, which decides whether it replaces the fit so far.
 *
 * Both passes are chains of dependent additions, and between them stand divisions: alone, a group would leave the processor
 * waiting most of the time. So four groups (two super-blocks) take turns: while one group's values are summed, the error of
 * the group two turns behind is, in the same loop. What a turn finds out is needed two turns later, which hides the
 * divisions, and no lane's order of operations changes.
 */
import {
  BEST_BASE, BEST_ERROR, BEST_INVERSE, ELEMENT_BYTES, ELEMENTS_BYTES, FITTED, MIN, QUANT, SCALE, SUM_W, SUM_X, SUM_X2,
  TRY_BASE, TRY_INVERSE, TRY_MIN, TRY_SCALE, TRY_VALID, WEIGHT, X, X_MAX, X_MIN, groupAddress,
} from "./group";
import { CLAMPS } from "./memory";
import {
  CLAMP_MOST, MAX_VALUE, nearestHolds, needsNoClamp, needsOnlyCap, roundAndCap, roundAndClamp, roundAnyAndClamp,
} from "./rounding";

/** k = 0 .. 20. */
const CANDIDATES: i32 = 21;

/** From here on `isHopeless` is asked. Earlier candidates are accepted so often that asking costs more than it saves. */
const FIRST_DOUBTED: i32 = 14;
/** 512 u, see `isHopeless`. */
const UNCERTAINTY: f32 = 1.0 / 32768;
const MAX_SQUARES: f32 = 1e30;

/** Tries all candidates on groups 0 to 3. */
export function tryCandidates(): void {
  const a = groupAddress(0);
  const b = groupAddress(1);
  const c = groupAddress(2);
  const d = groupAddress(3);
  for (let k = 0; k < CANDIDATES; k++) {
    // In the first round c and d have no candidate yet: their TRY_VALID is false, so that nothing comes of it.
    turn(a, c, k);
    turn(b, d, k);
    turn(c, a, k);
    turn(d, b, k);
  }
  // Brings the last errors of c and d in; the candidate 21 that it sums for a and b goes nowhere.
  turn(a, c, CANDIDATES);
  turn(b, d, CANDIDATES);
}

// How the values of a turn are rounded.
const UNCLAMPED = 0;
const CAPPED = 1;
const CLAMPED = 2;
const ANY = 3;

/** First pass of candidate `k` for the group `sums`, second pass of its last candidate for the group `errors`. */
function turn(sums: usize, errors: usize, k: i32): void {
  const numerator: f32 = <f32>-1 + <f32>0.1 * <f32>k + MAX_VALUE;
  const min = v128.load(sums, MIN);
  const inverse = f32x4.div(f32x4.splat(numerator), f32x4.sub(v128.load(sums, X_MAX), min));
  v128.store(sums, inverse, TRY_INVERSE);
  v128.store(sums, min, TRY_BASE);
  if (v128.any_true(v128.load(errors, TRY_VALID))) chooseRounding(sums, errors, k, inverse, min, true);
  else chooseRounding(sums, errors, k, inverse, min, false);
}

@inline
function chooseRounding(sums: usize, errors: usize, k: i32, inverse: v128, min: v128, withErrors: bool): void {
  // Every operation on the way from x to `inverse * (x - min)` is monotone: these are its bounds.
  const low = f32x4.mul(inverse, f32x4.sub(v128.load(sums, X_MIN), min));
  const high = f32x4.mul(inverse, f32x4.sub(v128.load(sums, X_MAX), min));
  if (needsNoClamp(low, high)) passes(sums, errors, k, inverse, min, withErrors, UNCLAMPED);
  else if (needsOnlyCap(low, high)) passes(sums, errors, k, inverse, min, withErrors, CAPPED);
  else if (nearestHolds(low, high)) passes(sums, errors, k, inverse, min, withErrors, CLAMPED);
  else passes(sums, errors, k, inverse, min, withErrors, ANY);
}

/** `withErrors` and `rounding` are constants of each place of call: every combination is a loop of its own. */
@inline
function passes(sums: usize, errors: usize, k: i32, inverse: v128, min: v128, withErrors: bool, rounding: i32): void {
  const scale = v128.load(errors, TRY_SCALE);
  const offset = v128.load(errors, TRY_MIN);
  const zero = v128.load(CLAMPS);
  const most = v128.load(CLAMPS, CLAMP_MOST);
  let sumL = f32x4.splat(0);
  let sumL2 = f32x4.splat(0);
  let sumXL = f32x4.splat(0);
  let error = f32x4.splat(0);

  const end = sums + ELEMENTS_BYTES;
  let other = errors;
  for (let element = sums; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const v = f32x4.mul(inverse, f32x4.sub(x, min));
    const q = rounding == UNCLAMPED ? f32x4.nearest(v)
      : rounding == CAPPED ? roundAndCap(v, most)
      : rounding == CLAMPED ? roundAndClamp(v, zero, most)
      : roundAnyAndClamp(v);
    v128.store(element, q, QUANT);
    const wq = f32x4.mul(v128.load(element, WEIGHT), q);
    sumL = f32x4.add(sumL, wq);
    sumL2 = f32x4.add(sumL2, f32x4.mul(wq, q));
    sumXL = f32x4.add(sumXL, f32x4.mul(wq, x));

    if (withErrors) {
      const e = f32x4.sub(f32x4.add(f32x4.mul(scale, v128.load(other, QUANT)), offset), v128.load(other, X));
      error = f32x4.add(error, f32x4.mul(v128.load(other, WEIGHT), f32x4.mul(e, e)));
      other += ELEMENT_BYTES;
    }
  }

  solve(sums, k, sumL, sumL2, sumXL);
  if (withErrors) accept(errors, error);
}

/** A candidate's scale and min from its sums: the least squares, with a min of 0 at most. */
@inline
function solve(group: usize, k: i32, sumL: v128, sumL2: v128, sumXL: v128): void {
  const zero = f32x4.splat(0);
  const sumW = v128.load(group, SUM_W);
  const sumX = v128.load(group, SUM_X);
  const determinant = f32x4.sub(f32x4.mul(sumW, sumL2), f32x4.mul(sumL, sumL));
  const freeScale = f32x4.div(f32x4.sub(f32x4.mul(sumW, sumXL), f32x4.mul(sumX, sumL)), determinant);
  const freeMin = f32x4.div(f32x4.sub(f32x4.mul(sumL2, sumX), f32x4.mul(sumL, sumXL)), determinant);
  const scale = v128.bitselect(f32x4.div(sumXL, sumL2), freeScale, f32x4.gt(freeMin, zero));
  const min = f32x4.pmin(freeMin, zero);

  let valid = v128.and(f32x4.gt(determinant, zero), v128.load(group, FITTED));
  if (k >= FIRST_DOUBTED) valid = v128.andnot(valid, isHopeless(group, scale, min, sumL, sumL2, sumXL));
  v128.store(group, scale, TRY_SCALE);
  v128.store(group, min, TRY_MIN);
  v128.store(group, valid, TRY_VALID);
}

/**
 * Lanes in which the candidate's error is certain not to be less than the best: where no other lane is left, its second
 * pass need not run. In real numbers, whatever s and m are (they may come from a determinant that cancels), the error is
 *
 *     squares + 2 * mixed, squares = s^2 sum(wqq) + m^2 sum(w) + sum(wxx), mixed = s m sum(wq) - s sum(wqx) - m sum(wx).
 *
 * The f32 arithmetic is off that by less than 235 u * squares, u = 2^-24. As 2 |ab| <= a^2 + b^2, the terms of `mixed` are
 * `squares` in sum, and sum(w A^2) <= 3 squares for A = |s q| + |m| + |x|. So:
 *  - the second pass: 120. An e is off by 3 u A, w e^2 by 6 u w A^2 (18 in sum), its products and sums by 34 u (102);
 *  - the sums that come in are off by 33 u at most, up to 4 operations follow: 37 for `squares`, 72 for `mixed` twice;
 *  - the last addition and subtraction: 6.
 * The margin is 512. Underflow, 2^-150 an operation, vanishes in what remains: SUM_X2 is NaN unless the root mean square r
 * is between 1e-9 and 1e9, so `squares` >= 32 r^3, 11 |s| r^2 and 64 |m| r^2, which covers what s or m may multiply.
 * MAX_SQUARES keeps every step from overflow. NaN anywhere answers "not hopeless".
 */
@inline
function isHopeless(group: usize, s: v128, m: v128, sumL: v128, sumL2: v128, sumXL: v128): v128 {
  const sumW = v128.load(group, SUM_W);
  const sumX = v128.load(group, SUM_X);
  const weighted = f32x4.add(f32x4.mul(f32x4.mul(s, s), sumL2), f32x4.mul(f32x4.mul(m, m), sumW));
  const squares = f32x4.add(weighted, v128.load(group, SUM_X2));
  const mixed = f32x4.sub(f32x4.mul(s, f32x4.sub(f32x4.mul(m, sumL), sumXL)), f32x4.mul(m, sumX));
  const estimate = f32x4.add(squares, f32x4.add(mixed, mixed));
  const leastError = f32x4.sub(estimate, f32x4.mul(squares, f32x4.splat(UNCERTAINTY)));
  return v128.and(f32x4.gt(leastError, v128.load(group, BEST_ERROR)), f32x4.lt(squares, f32x4.splat(MAX_SQUARES)));
}

/** Puts the candidate in the place of the fit so far, in the lanes where its error is less. */
@inline
function accept(group: usize, error: v128): void {
  const bestError = v128.load(group, BEST_ERROR);
  const better = v128.and(f32x4.lt(error, bestError), v128.load(group, TRY_VALID));
  v128.store(group, v128.bitselect(error, bestError, better), BEST_ERROR);
  replace(group, SCALE, TRY_SCALE, better);
  replace(group, MIN, TRY_MIN, better);
  replace(group, BEST_INVERSE, TRY_INVERSE, better);
  replace(group, BEST_BASE, TRY_BASE, better);
}

@inline
function replace(group: usize, field: usize, by: usize, lanes: v128): void {
  v128.store(group + field, v128.bitselect(v128.load(group + by), v128.load(group + field), lanes));
}
