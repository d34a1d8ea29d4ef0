/**
 * The refined fit of scale and min, in the order of operations of `fits/refined/affine.ts`. A group is four sub-blocks, one
 * to a lane; several candidates go through the values at once, since each alone is a chain of dependent additions.
 */
import { clamp, clampMost, clampZero } from "../affine/clamp";
import { storeBytes } from "../pack";
import { halfAbove, LEAST, nearestHalf, NOTABLY, WHOLE } from "./block";
import { ELEMENT_BYTES, groupAddress, LEAST_X, MOST_X, numerator, storeNumerator, VALUES, WEIGHT, X } from "./scratch";

// One vector each:
/** Lanes whose range counts, the least value or 0, and the range: 1 in other lanes. */
const FITTED: usize = 32;
const LOW: usize = 48;
const RANGE: usize = 64;
const SUM_W: usize = 80;
const SUM_X: usize = 96;
/** sum(w * y), of values counted from LOW. */
const SUM_Y: usize = 112;
/** The best candidate. */
const GAIN: usize = 128;
const SCALE: usize = 144;
const OFFSET: usize = 160;
/** Scales and mins as whole numbers, in f32. */
export const SCALE_CODE: usize = 176;
export const MIN_CODE: usize = 192;
/** Sums over the values with these. */
const SUM_L: usize = 208;
const SUM_L2: usize = 224;
const SUM_XL: usize = 240;
/** What three mins decode to, and the errors of nine pairs. */
const LOWS: usize = 256;
const ERRORS: usize = 304;

const LEAST_DETERMINANT: f32 = 1.52587890625e-5;
const LEAST_DETERMINANT_64: f64 = 9.094947017729282e-13;

/** What the types differ in. */
let groups: usize = 2;
let elements: usize = 32;
let maxScale: f32 = 63;
/** The halves in which scales and mins count. */
export let d: f32 = 0;
export let dmin: f32 = 0;

/** Sets what the super-blocks of a type have in common. */
export function setType(groupCount: usize, subBlockElements: usize, maxValue: f64, greatestScale: f32): void {
  groups = groupCount;
  elements = subBlockElements;
  maxScale = greatestScale;
  storeNumerator(0, maxValue);
  storeNumerator(1, maxValue - 1.2);
  storeNumerator(2, maxValue - 0.9);
  storeNumerator(3, maxValue - 0.6);
  storeNumerator(4, maxValue - 0.3);
  storeNumerator(5, maxValue + 0.3);
  storeNumerator(6, maxValue + 0.6);
  storeNumerator(7, maxValue + 0.9);
  storeNumerator(8, maxValue + 1.2);
}

/** First scale and min of the sub-blocks of a group whose elements are there. */
@inline
export function start(group: usize, isWeighted: bool): void {
  measure(group);
  tryFirst(group, isWeighted);
  tryTwo(group, 1, isWeighted);
  tryTwo(group, 3, isWeighted);
  tryTwo(group, 5, isWeighted);
  tryTwo(group, 7, isWeighted);
  const fitted = v128.load(group, FITTED);
  v128.store(group, v128.and(v128.load(group, SCALE), fitted), SCALE);
  v128.store(group, f32x4.neg(f32x4.add(v128.load(group, LOW), v128.and(v128.load(group, OFFSET), fitted))), OFFSET);
}

/** LOW, RANGE and FITTED. */
@inline
function measure(group: usize): void {
  const low = f32x4.pmin(v128.load(group, LEAST_X), f32x4.splat(0));
  const high = v128.load(group, MOST_X);
  const range = f32x4.sub(high, low);
  const fitted = f32x4.ge(range, f32x4.splat(LEAST));
  v128.store(group, low, LOW);
  v128.store(group, fitted, FITTED);
  v128.store(group, v128.bitselect(range, f32x4.splat(1), fitted), RANGE);
}

/** The candidate that spans all values, and the sums that every candidate needs. */
@inline
function tryFirst(group: usize, isWeighted: bool): void {
  const low = v128.load(group, LOW);
  const range = v128.load(group, RANGE);
  const inverse = f32x4.div(numerator(0), range);
  const most = clampMost();
  let sumW = f32x4.splat(0);
  let sumX = f32x4.splat(0);
  let sumY = f32x4.splat(0);
  let sumL = f32x4.splat(0);
  let sumL2 = f32x4.splat(0);
  let sumYL = f32x4.splat(0);
  const end = group + elements * ELEMENT_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const y = f32x4.sub(x, low);
    const q = f32x4.nearest(i32x4.min_s(f32x4.mul(y, inverse), most));
    const w = isWeighted ? v128.load(element, WEIGHT) : f32x4.splat(1);
    const wq = isWeighted ? f32x4.mul(w, q) : q;
    sumW = f32x4.add(sumW, w);
    sumX = f32x4.add(sumX, isWeighted ? f32x4.mul(w, x) : x);
    sumY = f32x4.add(sumY, isWeighted ? f32x4.mul(w, y) : y);
    sumL = f32x4.add(sumL, wq);
    sumL2 = f32x4.add(sumL2, f32x4.mul(wq, q));
    sumYL = f32x4.add(sumYL, f32x4.mul(wq, y));
  }
  v128.store(group, sumW, SUM_W);
  v128.store(group, sumX, SUM_X);
  v128.store(group, sumY, SUM_Y);
  v128.store(group, f32x4.splat(0), GAIN);
  v128.store(group, f32x4.div(range, most), SCALE);
  v128.store(group, f32x4.splat(0), OFFSET);
  accept(group, sumL, sumL2, sumYL);
}

/** Candidates `index` and the next. */
@inline
function tryTwo(group: usize, index: usize, isWeighted: bool): void {
  if (isWeighted) tryTwoWeighted(group, index);
  else tryTwoPlain(group, index);
}

function tryTwoPlain(group: usize, index: usize): void {
  sumTwo(group, index, false);
}

function tryTwoWeighted(group: usize, index: usize): void {
  sumTwo(group, index, true);
}

@inline
function sumTwo(group: usize, index: usize, isWeighted: bool): void {
  const low = v128.load(group, LOW);
  const range = v128.load(group, RANGE);
  const inverseA = f32x4.div(numerator(index), range);
  const inverseB = f32x4.div(numerator(index + 1), range);
  const most = clampMost();
  let sumLA = f32x4.splat(0);
  let sumL2A = f32x4.splat(0);
  let sumYLA = f32x4.splat(0);
  let sumLB = f32x4.splat(0);
  let sumL2B = f32x4.splat(0);
  let sumYLB = f32x4.splat(0);
  const end = group + elements * ELEMENT_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const y = f32x4.sub(v128.load(element, X), low);
    const qA = f32x4.nearest(i32x4.min_s(f32x4.mul(y, inverseA), most));
    const qB = f32x4.nearest(i32x4.min_s(f32x4.mul(y, inverseB), most));
    const wqA = isWeighted ? f32x4.mul(v128.load(element, WEIGHT), qA) : qA;
    const wqB = isWeighted ? f32x4.mul(v128.load(element, WEIGHT), qB) : qB;
    sumLA = f32x4.add(sumLA, wqA);
    sumL2A = f32x4.add(sumL2A, f32x4.mul(wqA, qA));
    sumYLA = f32x4.add(sumYLA, f32x4.mul(wqA, y));
    sumLB = f32x4.add(sumLB, wqB);
    sumL2B = f32x4.add(sumL2B, f32x4.mul(wqB, qB));
    sumYLB = f32x4.add(sumYLB, f32x4.mul(wqB, y));
  }
  accept(group, sumLA, sumL2A, sumYLA);
  accept(group, sumLB, sumL2B, sumYLB);
}

/** Takes a candidate in the lanes in which it gains more than the best one. */
@inline
function accept(group: usize, sumL: v128, sumL2: v128, sumYL: v128): void {
  const sumW = v128.load(group, SUM_W);
  const sumY = v128.load(group, SUM_Y);
  const product = f32x4.mul(sumW, sumL2);
  const determinant = f32x4.sub(product, f32x4.mul(sumL, sumL));
  const isSolved = f32x4.gt(determinant, f32x4.mul(f32x4.splat(LEAST_DETERMINANT), product));
  const solvedScale = f32x4.div(f32x4.sub(f32x4.mul(sumW, sumYL), f32x4.mul(sumY, sumL)), determinant);
  const solvedOffset = f32x4.div(f32x4.sub(f32x4.mul(sumL2, sumY), f32x4.mul(sumL, sumYL)), determinant);
  const most = f32x4.neg(v128.load(group, LOW));
  const isAbove = f32x4.gt(solvedOffset, most);
  const offset = v128.bitselect(most, solvedOffset, isAbove);
  const scaleAbove = f32x4.div(f32x4.sub(sumYL, f32x4.mul(offset, sumL)), sumL2);
  const scale = v128.bitselect(scaleAbove, solvedScale, isAbove);
  const two = f32x4.splat(2);
  const ofScale = f32x4.sub(
    f32x4.sub(f32x4.mul(two, sumYL), f32x4.mul(scale, sumL2)), f32x4.mul(f32x4.mul(two, offset), sumL),
  );
  const ofOffset = f32x4.sub(f32x4.mul(two, sumY), f32x4.mul(offset, sumW));
  const gain = f32x4.add(f32x4.mul(scale, ofScale), f32x4.mul(offset, ofOffset));
  const best = v128.load(group, GAIN);
  const isBetter = v128.and(isSolved, f32x4.gt(gain, f32x4.mul(best, f32x4.splat(NOTABLY))));
  v128.store(group, v128.bitselect(gain, best, isBetter), GAIN);
  v128.store(group, v128.bitselect(scale, v128.load(group, SCALE), isBetter), SCALE);
  v128.store(group, v128.bitselect(offset, v128.load(group, OFFSET), isBetter), OFFSET);
}

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
