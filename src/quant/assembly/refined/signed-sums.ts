/** A group of a refined fit of values around 0, and passes over its values: three candidates at once. */
import { CONSTANTS, ELEMENT_BYTES, WEIGHT, X } from "./scratch";

// One vector each:
/** Lanes whose values count; the value of the largest magnitude, 1 in other lanes. */
export const FITTED: usize = 32;
export const TOP: usize = 48;
/** The best candidate. */
export const GAIN: usize = 64;
export const SCALE: usize = 80;
/** The scale as a whole number, in f32, and the sums over the values with it. */
export const CODE: usize = 96;
export const SUM_XQ: usize = 112;
export const SUM_QQ: usize = 128;
/** What three candidates multiply values by, and what they sum: XQ and QQ of each. */
export const INVERSES: usize = 144;
export const SUMS: usize = 192;

/** Sub-blocks of 16. */
export const GROUP_ELEMENTS_BYTES: usize = 16 * ELEMENT_BYTES;

/** Sums of what three candidates make of the values. `isAboveLeast`: no value of theirs is below the least one. */
@inline
export function sumThree(group: usize, isWeighted: bool, isAboveLeast: bool): void {
  if (isWeighted) {
    if (isAboveLeast) sumThreeWeightedAbove(group);
    else sumThreeWeighted(group);
  } else {
    if (isAboveLeast) sumThreePlainAbove(group);
    else sumThreePlain(group);
  }
}

function sumThreeWeighted(group: usize): void {
  addThree(group, true, false);
}

function sumThreeWeightedAbove(group: usize): void {
  addThree(group, true, true);
}

function sumThreePlain(group: usize): void {
  addThree(group, false, false);
}

function sumThreePlainAbove(group: usize): void {
  addThree(group, false, true);
}

@inline
function addThree(group: usize, isWeighted: bool, isAboveLeast: bool): void {
  const inverseA = v128.load(group, INVERSES);
  const inverseB = v128.load(group, INVERSES + 16);
  const inverseC = v128.load(group, INVERSES + 32);
  const least = v128.load(CONSTANTS);
  const most = v128.load(CONSTANTS, 16);
  let xqA = f32x4.splat(0);
  let qqA = f32x4.splat(0);
  let xqB = f32x4.splat(0);
  let qqB = f32x4.splat(0);
  let xqC = f32x4.splat(0);
  let qqC = f32x4.splat(0);
  const end = group + GROUP_ELEMENTS_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const qA = isAboveLeast ? valueBelow(x, inverseA, most) : valueOf(x, inverseA, least, most);
    const qB = isAboveLeast ? valueBelow(x, inverseB, most) : valueOf(x, inverseB, least, most);
    const qC = isAboveLeast ? valueBelow(x, inverseC, most) : valueOf(x, inverseC, least, most);
    const wqA = isWeighted ? f32x4.mul(v128.load(element, WEIGHT), qA) : qA;
    const wqB = isWeighted ? f32x4.mul(v128.load(element, WEIGHT), qB) : qB;
    const wqC = isWeighted ? f32x4.mul(v128.load(element, WEIGHT), qC) : qC;
    xqA = f32x4.add(xqA, f32x4.mul(wqA, x));
    qqA = f32x4.add(qqA, f32x4.mul(wqA, qA));
    xqB = f32x4.add(xqB, f32x4.mul(wqB, x));
    qqB = f32x4.add(qqB, f32x4.mul(wqB, qB));
    xqC = f32x4.add(xqC, f32x4.mul(wqC, x));
    qqC = f32x4.add(qqC, f32x4.mul(wqC, qC));
  }
  v128.store(group, xqA, SUMS);
  v128.store(group, qqA, SUMS + 16);
  v128.store(group, xqB, SUMS + 32);
  v128.store(group, qqB, SUMS + 48);
  v128.store(group, xqC, SUMS + 64);
  v128.store(group, qqC, SUMS + 80);
}

@inline
export function valueOf(x: v128, inverse: v128, least: v128, most: v128): v128 {
  return f32x4.nearest(f32x4.pmin(f32x4.pmax(f32x4.mul(x, inverse), least), most));
}

/** The same where no product rounds to less than the least value. */
@inline
export function valueBelow(x: v128, inverse: v128, most: v128): v128 {
  return f32x4.nearest(f32x4.pmin(f32x4.mul(x, inverse), most));
}
