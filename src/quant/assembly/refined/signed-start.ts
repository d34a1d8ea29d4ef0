/** The first scale of the refined fits of values around 0. */
import { LEAST, NOTABLY } from "./block";
import { CONSTANTS, ELEMENT_BYTES, LEAST_X, MOST_X, numerator, WEIGHT, X } from "./scratch";
import {
  FITTED, GAIN, GROUP_ELEMENTS_BYTES, INVERSES, SCALE, SUMS, sumThree, TOP, valueBelow,
} from "./signed-sums";

/** First scale of the sub-blocks of a group. */
@inline
export function start(group: usize, isWeighted: bool): void {
  const low = f32x4.pmin(v128.load(group, LEAST_X), f32x4.splat(0));
  const high = f32x4.pmax(v128.load(group, MOST_X), f32x4.splat(0));
  const negated = f32x4.neg(low);
  const isLow = f32x4.ge(negated, high);
  const fitted = f32x4.ge(f32x4.pmax(negated, high), f32x4.splat(LEAST));
  const top = v128.bitselect(v128.bitselect(low, high, isLow), f32x4.splat(1), fitted);
  v128.store(group, fitted, FITTED);
  v128.store(group, top, TOP);
  tryFirst(group, isWeighted);
  tryThree(group, 1, isWeighted, true);
  tryThree(group, 4, isWeighted, false);
  v128.store(group, v128.and(v128.load(group, SCALE), fitted), SCALE);
}

@inline
function tryThree(group: usize, index: usize, isWeighted: bool, isAboveLeast: bool): void {
  const top = v128.load(group, TOP);
  v128.store(group, f32x4.div(numerator(index), top), INVERSES);
  v128.store(group, f32x4.div(numerator(index + 1), top), INVERSES + 16);
  v128.store(group, f32x4.div(numerator(index + 2), top), INVERSES + 32);
  sumThree(group, isWeighted, isAboveLeast);
  let best = v128.load(group, GAIN);
  let scale = v128.load(group, SCALE);
  for (let k: usize = 0; k < 96; k += 32) {
    const xq = v128.load(group + k, SUMS);
    const tryScale = f32x4.div(xq, v128.load(group + k, SUMS + 16));
    const gain = f32x4.mul(tryScale, xq);
    const isBetter = f32x4.gt(gain, f32x4.mul(best, f32x4.splat(NOTABLY)));
    best = v128.bitselect(gain, best, isBetter);
    scale = v128.bitselect(tryScale, scale, isBetter);
  }
  v128.store(group, best, GAIN);
  v128.store(group, scale, SCALE);
}

/** The first candidate; where it gains nothing, the scale that it stands for. */
@inline
function tryFirst(group: usize, isWeighted: bool): void {
  const inverse = f32x4.div(numerator(0), v128.load(group, TOP));
  const least = v128.load(CONSTANTS);
  const most = v128.load(CONSTANTS, 16);
  let xq = f32x4.splat(0);
  let qq = f32x4.splat(0);
  const end = group + GROUP_ELEMENTS_BYTES;
  for (let element = group; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const q = valueBelow(x, inverse, most);
    const wq = isWeighted ? f32x4.mul(v128.load(element, WEIGHT), q) : q;
    xq = f32x4.add(xq, f32x4.mul(wq, x));
    qq = f32x4.add(qq, f32x4.mul(wq, q));
  }
  const scale = f32x4.div(xq, qq);
  const gain = f32x4.mul(scale, xq);
  const isBetter = f32x4.gt(gain, f32x4.splat(0));
  v128.store(group, v128.and(gain, isBetter), GAIN);
  v128.store(group, v128.bitselect(scale, f32x4.div(v128.load(group, TOP), least), isBetter), SCALE);
}
