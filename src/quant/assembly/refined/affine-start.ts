/**
 * The first scale and min of the refined fits, in the order of operations of `fits/refined/affine.ts`. Two candidates go through
 * the values at once, since each alone is a chain of dependent additions.
 */
import { clampMost } from "../affine/clamp";
import {
  elements, FITTED, GAIN, LOW, OFFSET, RANGE, SCALE, SUM_W, SUM_X, SUM_Y,
} from "./affine-group";
import { LEAST, NOTABLY } from "./block";
import { ELEMENT_BYTES, LEAST_X, MOST_X, numerator, WEIGHT, X } from "./scratch";

const LEAST_DETERMINANT: f32 = 1.52587890625e-5;

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
