/**
 * Scales and mins of the refined fits as whole numbers, round by round, in the order of operations of
 * `fits/refined/affine.ts`. Three pairs go through the values at once.
 */
import { clamp, clampMost, clampZero } from "../affine/clamp";
import { storeBytes } from "../pack";
import {
  elements, ERRORS, groups, LOWS, maxScale, MIN_CODE, OFFSET, SCALE, SCALE_CODE, SUM_L, SUM_L2, SUM_W, SUM_X, SUM_XL,
} from "./affine-group";
import { halfAbove, nearestHalf, WHOLE } from "./block";
import { ELEMENT_BYTES, groupAddress, VALUES, WEIGHT, X } from "./scratch";

const LEAST_DETERMINANT_64: f64 = 9.094947017729282e-13;

/** The halves in which scales and mins count. */
export let d: f32 = 0;
export let dmin: f32 = 0;

/** Whole numbers for scales and mins, and the halves in which they count. */
export function spread(): void {
  d = spreadField(SCALE, SCALE_CODE);
  dmin = spreadField(OFFSET, MIN_CODE);
}

function spreadField(field: usize, codes: usize): f32 {
  let m = f32x4.splat(0);
  for (let i: usize = 0; i < groups; i++) m = f32x4.pmax(m, v128.load(groupAddress(i) + field));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 2, 3, 0, 1));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 1, 0, 3, 2));
  const unit = halfAbove(f32x4.extract_lane(m, 0) / maxScale);
  const divisor = f32x4.splat(unit == 0 ? 1 : unit);
  for (let i: usize = 0; i < groups; i++) {
    const v = f32x4.div(v128.load(groupAddress(i) + field), divisor);
    v128.store(groupAddress(i) + codes, f32x4.nearest(clamp(v, f32x4.splat(0), f32x4.splat(maxScale))));
  }
  return unit;
}

/** A round. Returns whether it changed anything. */
@inline
export function refine(isWeighted: bool): bool {
  let changed = i32x4.splat(0);
  for (let i: usize = 0; i < groups; i++) changed = v128.or(changed, neighbours(groupAddress(i), isWeighted));
  const isSolved = solve();
  return isSolved || v128.any_true(changed);
}

/** Moves scales and mins by one where that leaves less error. Returns the lanes in which it did. */
@inline
function neighbours(group: usize, isWeighted: bool): v128 {
  const one = f32x4.splat(1);
  const factor = f32x4.splat(dmin);
  const scale = v128.load(group, SCALE_CODE);
  const min = v128.load(group, MIN_CODE);
  v128.store(group, f32x4.mul(factor, f32x4.sub(min, one)), LOWS);
  v128.store(group, f32x4.mul(factor, min), LOWS + 16);
  v128.store(group, f32x4.mul(factor, f32x4.add(min, one)), LOWS + 32);
  errorsOfThree(group, f32x4.sub(scale, one), ERRORS, isWeighted);
  errorsOfThree(group, scale, ERRORS + 48, isWeighted);
  errorsOfThree(group, f32x4.add(scale, one), ERRORS + 96, isWeighted);

  let best = v128.load(group, ERRORS + 64);
  let bestScale = scale;
  let bestMin = min;
  for (let k: usize = 0; k < 9; k++) {
    const tryScale = f32x4.add(scale, f32x4.splat(<f32>(<i32>(k / 3) - 1)));
    const tryMin = f32x4.add(min, f32x4.splat(<f32>(<i32>(k % 3) - 1)));
    const error = v128.load(group + (k << 4), ERRORS);
    const isBetter = v128.and(f32x4.lt(error, best), v128.and(isCode(tryScale), isCode(tryMin)));
    best = v128.bitselect(error, best, isBetter);
    bestScale = v128.bitselect(tryScale, bestScale, isBetter);
    bestMin = v128.bitselect(tryMin, bestMin, isBetter);
  }
  v128.store(group, bestScale, SCALE_CODE);
  v128.store(group, bestMin, MIN_CODE);
  if (isWeighted) sumWeighted(group, bestScale, bestMin);
  else sumPlain(group, bestScale, bestMin);
  return v128.or(f32x4.ne(bestScale, scale), f32x4.ne(bestMin, min));
}

@inline
function isCode(code: v128): v128 {
  return v128.and(f32x4.ge(code, f32x4.splat(0)), f32x4.le(code, f32x4.splat(maxScale)));
}

@inline
function errorsOfThree(group: usize, scale: v128, errors: usize, isWeighted: bool): void {
  if (isWeighted) errorsWeighted(group, scale, errors);
  else errorsPlain(group, scale, errors);
}

function errorsWeighted(group: usize, scale: v128, errors: usize): void {
  addErrors(group, scale, errors, true);
}

function errorsPlain(group: usize, scale: v128, errors: usize): void {
  addErrors(group, scale, errors, false);
}

/** The errors of one scale with the three mins in LOWS. */
@inline
function addErrors(group: usize, scale: v128, errors: usize, isWeighted: bool): void {
  const step = f32x4.mul(f32x4.splat(d), scale);
  const inverse = inverseOf(step);
  const lowA = v128.load(group, LOWS);
  const lowB = v128.load(group, LOWS + 16);
  const lowC = v128.load(group, LOWS + 32);
  const zero = clampZero();
  const most = clampMost();
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  const end = group + elements * ELEMENT_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const eA = errorOf(f32x4.add(x, lowA), step, inverse, zero, most);
    const eB = errorOf(f32x4.add(x, lowB), step, inverse, zero, most);
    const eC = errorOf(f32x4.add(x, lowC), step, inverse, zero, most);
    if (isWeighted) {
      const w = v128.load(element, WEIGHT);
      a = f32x4.add(a, f32x4.mul(w, f32x4.mul(eA, eA)));
      b = f32x4.add(b, f32x4.mul(w, f32x4.mul(eB, eB)));
      c = f32x4.add(c, f32x4.mul(w, f32x4.mul(eC, eC)));
    } else {
      a = f32x4.add(a, f32x4.mul(eA, eA));
      b = f32x4.add(b, f32x4.mul(eB, eB));
      c = f32x4.add(c, f32x4.mul(eC, eC));
    }
  }
  v128.store(group + errors, a);
  v128.store(group + errors, b, 16);
  v128.store(group + errors, c, 32);
}

@inline
function errorOf(y: v128, step: v128, inverse: v128, zero: v128, most: v128): v128 {
  return f32x4.sub(f32x4.mul(step, f32x4.nearest(clamp(f32x4.mul(y, inverse), zero, most))), y);
}

@inline
function inverseOf(step: v128): v128 {
  return v128.and(f32x4.div(f32x4.splat(1), step), f32x4.gt(step, f32x4.splat(0)));
}

function sumWeighted(group: usize, scale: v128, min: v128): void {
  addSums(group, scale, min, true);
}

function sumPlain(group: usize, scale: v128, min: v128): void {
  addSums(group, scale, min, false);
}

@inline
function addSums(group: usize, scale: v128, min: v128, isWeighted: bool): void {
  const low = f32x4.mul(f32x4.splat(dmin), min);
  const inverse = inverseOf(f32x4.mul(f32x4.splat(d), scale));
  const zero = clampZero();
  const most = clampMost();
  let sumL = f32x4.splat(0);
  let sumL2 = f32x4.splat(0);
  let sumXL = f32x4.splat(0);
  const end = group + elements * ELEMENT_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const q = f32x4.nearest(clamp(f32x4.mul(f32x4.add(x, low), inverse), zero, most));
    const wq = isWeighted ? f32x4.mul(v128.load(element, WEIGHT), q) : q;
    sumL = f32x4.add(sumL, wq);
    sumL2 = f32x4.add(sumL2, f32x4.mul(wq, q));
    sumXL = f32x4.add(sumXL, f32x4.mul(wq, x));
  }
  v128.store(group, sumL, SUM_L);
  v128.store(group, sumL2, SUM_L2);
  v128.store(group, sumXL, SUM_XL);
}

/** The two halves that leave the least error with all else fixed. Returns whether they are others. */
function solve(): bool {
  let a: f64 = 0;
  let b: f64 = 0;
  let c: f64 = 0;
  let p: f64 = 0;
  let r: f64 = 0;
  for (let i: usize = 0; i < groups; i++) {
    const group = groupAddress(i);
    for (let lane = group; lane < group + 16; lane += 4) {
      const scale = <f64>load<f32>(lane, SCALE_CODE);
      const min = <f64>load<f32>(lane, MIN_CODE);
      a += scale * scale * <f64>load<f32>(lane, SUM_L2);
      b += scale * min * <f64>load<f32>(lane, SUM_L);
      c += min * min * <f64>load<f32>(lane, SUM_W);
      p += scale * <f64>load<f32>(lane, SUM_XL);
      r += min * <f64>load<f32>(lane, SUM_X);
    }
  }
  let tryD = p / a;
  let tryMin: f64 = dmin;
  if (c > 0) {
    const determinant = a * c - b * b;
    if (!(determinant > LEAST_DETERMINANT_64 * (a * c))) return false;
    tryD = (p * c - b * r) / determinant;
    tryMin = (b * p - a * r) / determinant;
  }
  if (!(tryD > 0 && tryMin >= 0)) return false;
  const newD = nearestHalf(tryD);
  const newMin = nearestHalf(tryMin);
  if (!(errorAt(newD, newMin, a, b, c, p, r) < errorAt(d, dmin, a, b, c, p, r))) return false;
  d = newD;
  dmin = newMin;
  return true;
}

@inline
function errorAt(d: f64, m: f64, a: f64, b: f64, c: f64, p: f64, r: f64): f64 {
  return d * (a * d - 2 * (b * m) - 2 * p) + m * (c * m + 2 * r);
}

/** Stores the value of every element, counted from 0 up, in VALUES. */
export function storeValues(input: usize): void {
  for (let i: usize = 0; i < groups; i++) {
    const group = groupAddress(i);
    v128.store(group, f32x4.mul(f32x4.splat(dmin), v128.load(group, MIN_CODE)), LOWS);
    v128.store(group, inverseOf(f32x4.mul(f32x4.splat(d), v128.load(group, SCALE_CODE))), LOWS + 16);
    for (let lane = group; lane < group + 16; lane += 4) {
      const low = v128.load32_splat(lane, LOWS);
      const inverse = v128.load32_splat(lane, LOWS + 16);
      for (let e: usize = 0; e < elements; e += 16, input += 64) {
        storeBytes(
          VALUES + ((i * 4 + ((lane - group) >> 2)) * elements + e),
          valuesOf(v128.load(input), low, inverse),
          valuesOf(v128.load(input, 16), low, inverse),
          valuesOf(v128.load(input, 32), low, inverse),
          valuesOf(v128.load(input, 48), low, inverse),
        );
      }
    }
  }
}

@inline
function valuesOf(x: v128, low: v128, inverse: v128): v128 {
  const v = clamp(f32x4.mul(f32x4.add(x, low), inverse), clampZero(), clampMost());
  // The last bits of the sum are the rounded value.
  return v128.and(f32x4.add(v, f32x4.splat(WHOLE)), i32x4.splat(0xff));
}
