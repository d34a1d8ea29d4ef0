/** Refined Q6_K and Q3_K, in the order of operations of `fits/refined/signed.ts`. Three candidates go through the values at once. */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, OUTPUT } from "../memory";
import { f32ToF16, storeBytes } from "../pack";
import { packCodes3, packScales3 } from "../signed/q3k";
import { packCodes6 } from "../signed/q6k";
import { halfAbove, LEAST, loadValues, loadWeights, nearestHalf, NOTABLY, weightFactor, WHOLE } from "./block";
import { CONSTANTS, ELEMENT_BYTES, groupAddress, LEAST_X, MOST_X, numerator, storeNumerator, VALUES, WEIGHT, X } from "./scratch";

// One vector each:
/** Lanes whose values count; the value of the largest magnitude, 1 in other lanes. */
const FITTED: usize = 32;
const TOP: usize = 48;
/** The best candidate. */
const GAIN: usize = 64;
const SCALE: usize = 80;
/** The scale as a whole number, in f32, and the sums over the values with it. */
export const CODE: usize = 96;
const SUM_XQ: usize = 112;
const SUM_QQ: usize = 128;
/** What three candidates multiply values by, and what they sum: XQ and QQ of each. */
const INVERSES: usize = 144;
const SUMS: usize = 192;

const GROUPS: usize = 4;
const SUB_BLOCK: usize = 16;
const GROUP_ELEMENTS_BYTES: usize = SUB_BLOCK * ELEMENT_BYTES;
const Q3K_BYTES: usize = 110;
const Q6K_BYTES: usize = 210;

/** Scales are from -scaleZero to scaleZero - 1. */
let scaleZero: f32 = 0;
let zero: f32 = 0;
/** The half in which scales count. */
let d: f32 = 0;

/**
 * Fits the first `blocks` super-blocks of INPUT into OUTPUT. Returns -1, or the index of the first element that is NaN or
 * infinite; OUTPUT is then undefined.
 */
export function refinedQ6k(blocks: i32, isWeighted: bool): i32 {
  setType(32, 128);
  return fitBlocks(blocks, isWeighted, 4, Q6K_BYTES);
}

export function refinedQ3k(blocks: i32, isWeighted: bool): i32 {
  setType(4, 32);
  return fitBlocks(blocks, isWeighted, 1, Q3K_BYTES);
}

function setType(zeroValue: f64, zeroScale: f32): void {
  zero = <f32>zeroValue;
  scaleZero = zeroScale;
  v128.store(CONSTANTS, f32x4.splat(-zero));
  v128.store(CONSTANTS, f32x4.splat(zero - 1), 16);
  storeNumerator(0, -zeroValue);
  storeNumerator(1, -(zeroValue - 0.9));
  storeNumerator(2, -(zeroValue - 0.6));
  storeNumerator(3, -(zeroValue - 0.3));
  storeNumerator(4, -(zeroValue + 0.3));
  storeNumerator(5, -(zeroValue + 0.6));
  storeNumerator(6, -(zeroValue + 0.9));
}

function fitBlocks(blocks: i32, isWeighted: bool, reach: i32, blockBytes: usize): i32 {
  for (let block = 0; block < blocks; block++) {
    const input = INPUT + <usize>block * BLOCK_INPUT_BYTES;
    const output = OUTPUT + <usize>block * blockBytes;
    if (anyLaneNotFinite(loadAll(input))) {
      const first = firstNotFinite(input, BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    if (isWeighted) {
      weigh(IMPORTANCE + <usize>block * BLOCK_INPUT_BYTES);
      for (let i: usize = 0; i < GROUPS; i++) start(groupAddress(i), true);
      spread();
      refine(reach, true);
    } else {
      for (let i: usize = 0; i < GROUPS; i++) start(groupAddress(i), false);
      spread();
      refine(reach, false);
    }
    storeValues(input);
    if (blockBytes == Q6K_BYTES) {
      packCodes6(output, VALUES);
      v128.store(output, scaleBytes(), 192);
    } else {
      packCodes3(output, VALUES);
      packScales3(output, i8x16.add(scaleBytes(), i8x16.splat(32)));
    }
    store<u16>(output + blockBytes - 2, f32ToF16(d));
  }
  return -1;
}

function loadAll(input: usize): v128 {
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < GROUPS; i++) sum = f32x4.add(sum, loadValues(groupAddress(i), input + (i << 8), SUB_BLOCK));
  return sum;
}

function weigh(importance: usize): void {
  const factor = weightFactor(importance);
  for (let i: usize = 0; i < GROUPS; i++) loadWeights(groupAddress(i), importance + (i << 8), SUB_BLOCK, factor);
}

/** First scale of the sub-blocks of a group. */
@inline
function start(group: usize, isWeighted: bool): void {
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

@inline
function sumThree(group: usize, isWeighted: bool, isAboveLeast: bool): void {
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
function valueOf(x: v128, inverse: v128, least: v128, most: v128): v128 {
  return f32x4.nearest(f32x4.pmin(f32x4.pmax(f32x4.mul(x, inverse), least), most));
}

/** The same where no product rounds to less than the least value. */
@inline
function valueBelow(x: v128, inverse: v128, most: v128): v128 {
  return f32x4.nearest(f32x4.pmin(f32x4.mul(x, inverse), most));
}

/** Whole numbers for scales, and the half in which they count. */
function spread(): void {
  let p = f32x4.splat(0);
  let n = f32x4.splat(0);
  for (let i: usize = 0; i < GROUPS; i++) {
    const scale = v128.load(groupAddress(i), SCALE);
    p = f32x4.pmax(p, scale);
    n = f32x4.pmax(n, f32x4.neg(scale));
  }
  const positive = greatest(p);
  const negative = greatest(n);
  const larger: f32 = max(positive, negative) / scaleZero;
  const smaller: f32 = min(positive, negative) / (scaleZero - 1);
  const size = halfAbove(max(larger, smaller));
  d = negative > positive ? size : -size;
  if (size == 0) d = 0;
  const divisor = f32x4.splat(size == 0 ? 1 : d);
  const least = f32x4.splat(-scaleZero);
  const most = f32x4.splat(scaleZero - 1);
  for (let i: usize = 0; i < GROUPS; i++) {
    const v = f32x4.div(v128.load(groupAddress(i), SCALE), divisor);
    v128.store(groupAddress(i), f32x4.nearest(f32x4.pmin(f32x4.pmax(v, least), most)), CODE);
  }
}

@inline
function greatest(v: v128): f32 {
  let m = f32x4.pmax(v, i32x4.shuffle(v, v, 2, 3, 0, 1));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 1, 0, 3, 2));
  return f32x4.extract_lane(m, 0);
}

/** A round: scales at most `reach` away from what they were, then the half that all count in. */
@inline
function refine(reach: i32, isWeighted: bool): void {
  for (let i: usize = 0; i < GROUPS; i++) neighbours(groupAddress(i), reach, isWeighted);
  solve();
}

/** Candidates go through the values in threes; the old scale is the middle of the middle three. */
@inline
function neighbours(group: usize, reach: i32, isWeighted: bool): void {
  const old = v128.load(group, CODE);
  prepareThree(group, old);
  sumThree(group, isWeighted, false);
  const step = f32x4.mul(f32x4.splat(d), old);
  v128.store(group, errorOf(v128.load(group, SUMS + 32), v128.load(group, SUMS + 48), step), GAIN);
  v128.store(group, v128.load(group, SUMS + 32), SUM_XQ);
  v128.store(group, v128.load(group, SUMS + 48), SUM_QQ);
  choose(group, f32x4.sub(old, f32x4.splat(1)), 0);
  choose(group, f32x4.add(old, f32x4.splat(1)), 64);
  if (reach > 1) {
    chooseThree(group, f32x4.sub(old, f32x4.splat(3)), isWeighted);
    chooseThree(group, f32x4.add(old, f32x4.splat(3)), isWeighted);
  }
}

@inline
function chooseThree(group: usize, middle: v128, isWeighted: bool): void {
  prepareThree(group, middle);
  sumThree(group, isWeighted, false);
  choose(group, f32x4.sub(middle, f32x4.splat(1)), 0);
  choose(group, middle, 32);
  choose(group, f32x4.add(middle, f32x4.splat(1)), 64);
}

/** What scales about `middle` multiply values by. */
@inline
function prepareThree(group: usize, middle: v128): void {
  v128.store(group, inverseOf(stepOf(f32x4.sub(middle, f32x4.splat(1)))), INVERSES);
  v128.store(group, inverseOf(stepOf(middle)), INVERSES + 16);
  v128.store(group, inverseOf(stepOf(f32x4.add(middle, f32x4.splat(1)))), INVERSES + 32);
}

@inline
function stepOf(scale: v128): v128 {
  return f32x4.mul(f32x4.splat(d), scale);
}

@inline
function inverseOf(step: v128): v128 {
  return v128.and(f32x4.div(f32x4.splat(1), step), f32x4.ne(step, f32x4.splat(0)));
}

/** Takes a scale, whose sums stand at `sums`, in the lanes in which it leaves less error than the best one. */
@inline
function choose(group: usize, scale: v128, sums: usize): void {
  const xq = v128.load(group + sums, SUMS);
  const qq = v128.load(group + sums, SUMS + 16);
  const error = errorOf(xq, qq, stepOf(scale));
  const best = v128.load(group, GAIN);
  const isCode = v128.and(f32x4.ge(scale, f32x4.splat(-scaleZero)), f32x4.lt(scale, f32x4.splat(scaleZero)));
  const isBetter = v128.and(isCode, f32x4.lt(error, best));
  v128.store(group, v128.bitselect(error, best, isBetter), GAIN);
  v128.store(group, v128.bitselect(scale, v128.load(group, CODE), isBetter), CODE);
  v128.store(group, v128.bitselect(xq, v128.load(group, SUM_XQ), isBetter), SUM_XQ);
  v128.store(group, v128.bitselect(qq, v128.load(group, SUM_QQ), isBetter), SUM_QQ);
}

/** The sum of squared errors, less that of the values themselves. */
@inline
function errorOf(xq: v128, qq: v128, step: v128): v128 {
  return f32x4.mul(step, f32x4.sub(f32x4.mul(step, qq), f32x4.mul(f32x4.splat(2), xq)));
}

/** The half that leaves the least error with all else fixed. */
function solve(): void {
  let a: f64 = 0;
  let p: f64 = 0;
  for (let i: usize = 0; i < GROUPS; i++) {
    const group = groupAddress(i);
    for (let lane = group; lane < group + 16; lane += 4) {
      const scale = <f64>load<f32>(lane, CODE);
      a += scale * scale * <f64>load<f32>(lane, SUM_QQ);
      p += scale * <f64>load<f32>(lane, SUM_XQ);
    }
  }
  if (!(a > 0)) return;
  const better: f64 = nearestHalf(p / a);
  const old: f64 = d;
  if (better * (a * better - 2 * p) < old * (a * old - 2 * p)) d = <f32>better;
}

/** Stores the value of every element, counted from 0 up, in VALUES. */
function storeValues(input: usize): void {
  const least = v128.load(CONSTANTS);
  const most = v128.load(CONSTANTS, 16);
  const shift = f32x4.splat(WHOLE + zero);
  for (let i: usize = 0; i < GROUPS; i++) {
    const group = groupAddress(i);
    v128.store(group, inverseOf(stepOf(v128.load(group, CODE))), INVERSES);
    for (let j: usize = 0; j < 4; j++, input += 64) {
      const inverse = v128.load32_splat(group + (j << 2), INVERSES);
      storeBytes(
        VALUES + ((i * 4 + j) << 4),
        byteOf(v128.load(input), inverse, least, most, shift),
        byteOf(v128.load(input, 16), inverse, least, most, shift),
        byteOf(v128.load(input, 32), inverse, least, most, shift),
        byteOf(v128.load(input, 48), inverse, least, most, shift),
      );
    }
  }
}

/** The last bits of the sum with `shift` are the rounded value, counted from 0 up. */
@inline
function byteOf(x: v128, inverse: v128, least: v128, most: v128, shift: v128): v128 {
  const v = f32x4.pmin(f32x4.pmax(f32x4.mul(x, inverse), least), most);
  return v128.and(f32x4.add(v, shift), i32x4.splat(0xff));
}

/** The 16 scales as signed bytes. */
function scaleBytes(): v128 {
  return i8x16.narrow_i16x8_s(
    i16x8.narrow_i32x4_s(scalesOf(0), scalesOf(1)), i16x8.narrow_i32x4_s(scalesOf(2), scalesOf(3)),
  );
}

@inline
function scalesOf(group: usize): v128 {
  return i32x4.trunc_sat_f32x4_s(v128.load(groupAddress(group), CODE));
}
