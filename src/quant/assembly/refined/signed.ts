/** Refined Q6_K and Q3_K, in the order of operations of `fits/refined/signed.ts`. */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, OUTPUT } from "../memory";
import { f32ToF16, storeBytes } from "../pack";
import { packCodes3, packScales3 } from "../signed/q3k";
import { packCodes6 } from "../signed/q6k";
import { halfAbove, loadValues, loadWeights, nearestHalf, weightFactor, WHOLE } from "./block";
import { CONSTANTS, groupAddress, storeNumerator, VALUES } from "./scratch";
import { start } from "./signed-start";
import { CODE, GAIN, INVERSES, SCALE, SUM_QQ, SUM_XQ, SUMS, sumThree, valueOf } from "./signed-sums";

const GROUPS: usize = 4;
const SUB_BLOCK: usize = 16;
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
  return fitBlocks(blocks, isWeighted, isWeighted ? 4 : 1, Q3K_BYTES);
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
