/**
 * The fit that moves one value's code after the other, on the four lanes of a group. A step that changes something is a
 * long chain of operations that the next one waits for.
 */
import {
  CANDIDATES, CODE, ELEMENT_BYTES, ELEMENTS, EMPTY, SCALE, SUM_QQ, SUM_XQ, TOP, WEIGHT, WEIGHTED, X,
} from "./group";
import { codeOfAny } from "./values";

const MAX_PASSES: i32 = 5;

/** The sums of the fit so far stand where the search has those of its first candidate. */
const XQ: usize = CANDIDATES + SUM_XQ;
const QQ: usize = CANDIDATES + SUM_QQ;

/**
 * Fits a group whose values are there, by codes from -zero to zero - 1.
 * @returns sums that are finite only if every value is
 */
@inline
export function descend(group: usize, elements: usize, zero: i32): v128 {
  const sums = guess(group, elements, zero);
  // A lane that has settled computes the same again, and stays.
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    if (!improve(group, elements, zero)) break;
  }
  const sumQQ = v128.load(group, QQ);
  const isSome = v128.andnot(f32x4.gt(sumQQ, f32x4.splat(0)), v128.load(group, EMPTY));
  v128.store(group, v128.and(f32x4.div(v128.load(group, XQ), sumQQ), isSome), SCALE);
  return sums;
}

@inline
function guess(group: usize, elements: usize, zero: i32): v128 {
  const inverse = f32x4.div(f32x4.splat(<f32>-zero), v128.load(group, TOP));
  let sumXQ = f32x4.splat(0);
  let sumQQ = f32x4.splat(0);
  const end = group + ELEMENTS + elements * ELEMENT_BYTES;
  for (let element = group + ELEMENTS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const w = f32x4.mul(x, x);
    const wx = f32x4.mul(w, x);
    const q = f32x4.pmin(f32x4.nearest(f32x4.mul(inverse, x)), f32x4.splat(<f32>(zero - 1)));
    v128.store(element, w, WEIGHT);
    v128.store(element, wx, WEIGHTED);
    v128.store(element, q, CODE);
    sumXQ = f32x4.add(sumXQ, f32x4.mul(wx, q));
    sumQQ = f32x4.add(sumQQ, f32x4.mul(f32x4.mul(w, q), q));
  }
  v128.store(group, sumXQ, XQ);
  v128.store(group, sumQQ, QQ);
  return f32x4.add(sumXQ, sumQQ);
}

/** One pass. Returns whether it changed a code. */
function improve(group: usize, elements: usize, zero: i32): bool {
  let sumXQ = v128.load(group, XQ);
  let sumQQ = v128.load(group, QQ);
  let changed = i32x4.splat(0);
  const end = group + ELEMENTS + elements * ELEMENT_BYTES;
  for (let element = group + ELEMENTS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const w = v128.load(element, WEIGHT);
    const wx = v128.load(element, WEIGHTED);
    const q = v128.load(element, CODE);
    const otherXQ = f32x4.sub(sumXQ, f32x4.mul(wx, q));
    const otherQQ = f32x4.sub(sumQQ, f32x4.mul(f32x4.mul(w, q), q));
    const code = codeOfAny(f32x4.div(f32x4.mul(x, otherQQ), otherXQ), zero);
    const better = f32x4.sub(f32x4.convert_i32x4_s(code), f32x4.splat(<f32>zero));
    const differs = v128.and(f32x4.gt(otherXQ, f32x4.splat(0)), f32x4.ne(better, q));
    // Most steps of later passes end here, and the next one need not wait for what they found.
    if (!v128.any_true(differs)) continue;
    const newXQ = f32x4.add(otherXQ, f32x4.mul(wx, better));
    const newQQ = f32x4.add(otherQQ, f32x4.mul(f32x4.mul(w, better), better));
    const gain = f32x4.mul(f32x4.mul(newXQ, newXQ), sumQQ);
    const cost = f32x4.mul(f32x4.mul(sumXQ, sumXQ), newQQ);
    const isBetter = v128.and(f32x4.gt(gain, cost), v128.and(f32x4.gt(newQQ, f32x4.splat(0)), differs));
    sumXQ = v128.bitselect(newXQ, sumXQ, isBetter);
    sumQQ = v128.bitselect(newQQ, sumQQ, isBetter);
    v128.store(element, v128.bitselect(better, q, isBetter), CODE);
    changed = v128.or(changed, isBetter);
  }
  v128.store(group, sumXQ, XQ);
  v128.store(group, sumQQ, QQ);
  return v128.any_true(changed);
}
