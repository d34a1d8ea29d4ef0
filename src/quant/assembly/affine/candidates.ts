/**
 * Step 4 of the search: candidates, each two passes over a group. The first pass sums what gives the candidate's scale and
 * min, the second sums its error, which decides whether it replaces the fit so far.
 *
 * Both passes are chains of dependent additions, and between them stand divisions: alone, a group would leave the processor
 * waiting most of the time. So four groups take turns: while one group's values are summed, the error of the group two turns
 * behind is, in the same loop. What a turn finds out is needed two turns later, which hides the divisions, and no lane's
 * order of operations changes.
 */
import {
  clampMost, clampZero, nearestHolds, needsNoClamp, needsOnlyCap, roundAndCap, roundAndClamp, roundAnyAndClamp,
} from "./clamp";
import {
  BEST_BASE, BEST_ERROR, BEST_INVERSE, ELEMENT_BYTES, FITTED, MIN, QUANT, SCALE, SUM_W, SUM_X, TRY_INVERSE,
  TRY_MIN, TRY_SCALE, TRY_VALID, WEIGHT, X, X_MAX, X_MIN, elementsBytes, groupAddress,
} from "./group";
import { isHopeless } from "./hopeless";

/** Candidate k of a type has the numerator `(first + step * k) + most`. */
let first: f32 = 0;
let step: f32 = 0;
let most: f32 = 0;
let count: i32 = 0;
/** From which k on `isHopeless` is asked. Earlier candidates are accepted so often that asking costs more than it saves. */
let firstDoubted: i32 = 0;

/** Sets what candidates there are. */
export function setCandidates(firstChange: f32, changeStep: f32, candidates: i32, doubted: i32, mostValue: f32): void {
  first = firstChange;
  step = changeStep;
  count = candidates;
  firstDoubted = doubted;
  most = mostValue;
}

/** The same for every type with importance. */
export function setWeightedCandidates(mostValue: f32): void {
  setCandidates(-0.9, 0.05, 37, 26, mostValue);
}

/** Tries all candidates on the four groups from `firstGroup` on. */
@inline
export function tryCandidates(firstGroup: usize, isAbsolute: bool): void {
  const a = groupAddress(firstGroup);
  const b = groupAddress(firstGroup + 1);
  const c = groupAddress(firstGroup + 2);
  const d = groupAddress(firstGroup + 3);
  for (let k = 0; k < count; k++) {
    const numerator: f32 = first + step * <f32>k + most;
    const isDoubted = k >= firstDoubted;
    // In the first round c and d have no candidate yet: their TRY_VALID is false, so that nothing comes of it.
    turn(a, c, numerator, isDoubted, isAbsolute);
    turn(b, d, numerator, isDoubted, isAbsolute);
    turn(c, a, numerator, isDoubted, isAbsolute);
    turn(d, b, numerator, isDoubted, isAbsolute);
  }
  finish(c, d, isAbsolute);
}

@inline
function turn(sums: usize, errors: usize, numerator: f32, isDoubted: bool, isAbsolute: bool): void {
  if (isAbsolute) turnAbsolute(sums, errors, numerator);
  else turnSquared(sums, errors, numerator, isDoubted);
}

function turnAbsolute(sums: usize, errors: usize, numerator: f32): void {
  takeTurn(sums, errors, numerator, false, true);
}

function turnSquared(sums: usize, errors: usize, numerator: f32, isDoubted: bool): void {
  takeTurn(sums, errors, numerator, isDoubted, false);
}

/** Second passes of the last candidate of two groups, side by side. */
function finish(a: usize, b: usize, isAbsolute: bool): void {
  if (isAbsolute) {
    addErrors(a, b, true);
  } else if (v128.any_true(v128.or(v128.load(a, TRY_VALID), v128.load(b, TRY_VALID)))) {
    addErrors(a, b, false);
  }
}

@inline
function addErrors(a: usize, b: usize, isAbsolute: bool): void {
  const scaleA = v128.load(a, TRY_SCALE);
  const scaleB = v128.load(b, TRY_SCALE);
  const offsetA = v128.load(a, TRY_MIN);
  const offsetB = v128.load(b, TRY_MIN);
  let errorA = f32x4.splat(0);
  let errorB = f32x4.splat(0);
  const end = a + elementsBytes;
  let other = b;
  for (let element = a; element < end; element += ELEMENT_BYTES) {
    errorA = f32x4.add(errorA, errorOf(element, scaleA, offsetA, isAbsolute));
    errorB = f32x4.add(errorB, errorOf(other, scaleB, offsetB, isAbsolute));
    other += ELEMENT_BYTES;
  }
  accept(a, errorA);
  accept(b, errorB);
}

/** What an element adds to its candidate's error. */
@inline
function errorOf(element: usize, scale: v128, offset: v128, isAbsolute: bool): v128 {
  const e = f32x4.sub(f32x4.add(f32x4.mul(scale, v128.load(element, QUANT)), offset), v128.load(element, X));
  return f32x4.mul(v128.load(element, WEIGHT), isAbsolute ? f32x4.abs(e) : f32x4.mul(e, e));
}

// How the values of a turn are rounded.
const UNCLAMPED = 0;
const CAPPED = 1;
const CLAMPED = 2;
const ANY = 3;

/** First pass of a candidate for the group `sums`, second pass of its last candidate for the group `errors`. */
@inline
function takeTurn(sums: usize, errors: usize, numerator: f32, isDoubted: bool, isAbsolute: bool): void {
  const min = v128.load(sums, MIN);
  const inverse = f32x4.div(f32x4.splat(numerator), f32x4.sub(v128.load(sums, X_MAX), min));
  v128.store(sums, inverse, TRY_INVERSE);
  if (v128.any_true(v128.load(errors, TRY_VALID))) chooseRounding(sums, errors, isDoubted, inverse, min, true, isAbsolute);
  else chooseRounding(sums, errors, isDoubted, inverse, min, false, isAbsolute);
}

@inline
function chooseRounding(
  sums: usize, errors: usize, isDoubted: bool, inverse: v128, min: v128, withErrors: bool, isAbsolute: bool,
): void {
  // Every operation on the way from x to `inverse * (x - min)` is monotone: these are its bounds. They change sides where a
  // min of 0 was taken for values that are all negative: `inverse` is negative then.
  const low = f32x4.mul(inverse, f32x4.sub(v128.load(sums, X_MIN), min));
  const high = f32x4.mul(inverse, f32x4.sub(v128.load(sums, X_MAX), min));
  if (needsNoClamp(low, high)) passes(sums, errors, isDoubted, inverse, min, withErrors, UNCLAMPED, isAbsolute);
  else if (needsOnlyCap(low, high)) passes(sums, errors, isDoubted, inverse, min, withErrors, CAPPED, isAbsolute);
  else if (nearestHolds(low, high)) passes(sums, errors, isDoubted, inverse, min, withErrors, CLAMPED, isAbsolute);
  else passesOfAny(sums, errors, isDoubted, inverse, min, isAbsolute);
}

/** Out of line: its loop would take registers from the others. */
function passesOfAny(sums: usize, errors: usize, isDoubted: bool, inverse: v128, min: v128, isAbsolute: bool): void {
  if (isAbsolute) passes(sums, errors, false, inverse, min, true, ANY, true);
  else passes(sums, errors, isDoubted, inverse, min, true, ANY, false);
}

/** The last three are constants of each place of call: every combination is a loop of its own. */
@inline
function passes(
  sums: usize, errors: usize, isDoubted: bool, inverse: v128, min: v128, withErrors: bool, rounding: i32, isAbsolute: bool,
): void {
  const scale = v128.load(errors, TRY_SCALE);
  const offset = v128.load(errors, TRY_MIN);
  const zero = clampZero();
  const most = clampMost();
  let sumL = f32x4.splat(0);
  let sumL2 = f32x4.splat(0);
  let sumXL = f32x4.splat(0);
  let error = f32x4.splat(0);

  const end = sums + elementsBytes;
  let other = errors;
  for (let element = sums; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const v = f32x4.mul(inverse, f32x4.sub(x, min));
    const q = rounding == UNCLAMPED ? f32x4.nearest(v)
      : rounding == CAPPED ? roundAndCap(v, most)
      : rounding == CLAMPED ? roundAndClamp(v, zero, most)
      : roundAnyAndClamp(v, zero, most);
    v128.store(element, q, QUANT);
    const wq = f32x4.mul(v128.load(element, WEIGHT), q);
    sumL = f32x4.add(sumL, wq);
    sumL2 = f32x4.add(sumL2, f32x4.mul(wq, q));
    sumXL = f32x4.add(sumXL, f32x4.mul(wq, x));

    if (withErrors) {
      error = f32x4.add(error, errorOf(other, scale, offset, isAbsolute));
      other += ELEMENT_BYTES;
    }
  }

  solve(sums, isDoubted, sumL, sumL2, sumXL, isAbsolute);
  if (withErrors) accept(errors, error);
}

/** A candidate's scale and min from its sums: the least squares, with a min of 0 at most. */
@inline
function solve(group: usize, isDoubted: bool, sumL: v128, sumL2: v128, sumXL: v128, isAbsolute: bool): void {
  const zero = f32x4.splat(0);
  const sumW = v128.load(group, SUM_W);
  const sumX = v128.load(group, SUM_X);
  const determinant = f32x4.sub(f32x4.mul(sumW, sumL2), f32x4.mul(sumL, sumL));
  const freeScale = f32x4.div(f32x4.sub(f32x4.mul(sumW, sumXL), f32x4.mul(sumX, sumL)), determinant);
  const freeMin = f32x4.div(f32x4.sub(f32x4.mul(sumL2, sumX), f32x4.mul(sumL, sumXL)), determinant);
  const scale = v128.bitselect(f32x4.div(sumXL, sumL2), freeScale, f32x4.gt(freeMin, zero));
  const min = f32x4.pmin(freeMin, zero);

  let valid = v128.and(f32x4.gt(determinant, zero), v128.load(group, FITTED));
  if (!isAbsolute && isDoubted) valid = v128.andnot(valid, isHopeless(group, scale, min, sumL, sumL2, sumXL));
  v128.store(group, scale, TRY_SCALE);
  v128.store(group, min, TRY_MIN);
  v128.store(group, valid, TRY_VALID);
}

/** Puts the candidate in the place of the fit so far, in the lanes where its error is less. */
@inline
function accept(group: usize, error: v128): void {
  const bestError = v128.load(group, BEST_ERROR);
  const better = v128.and(f32x4.lt(error, bestError), v128.load(group, TRY_VALID));
  v128.store(group, v128.bitselect(error, bestError, better), BEST_ERROR);
  // The values were counted from the min so far, which has not changed since.
  replace(group, BEST_BASE, MIN, better);
  replace(group, SCALE, TRY_SCALE, better);
  replace(group, MIN, TRY_MIN, better);
  replace(group, BEST_INVERSE, TRY_INVERSE, better);
}

@inline
function replace(group: usize, field: usize, by: usize, lanes: v128): void {
  v128.store(group + field, v128.bitselect(v128.load(group + by), v128.load(group + field), lanes));
}
