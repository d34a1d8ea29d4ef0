/**
 * From f32 to the dtype that is written: rounding to nearest even, looking for what is not finite on the way. Every
 * function returns the index of the first value that would be NaN or infinite in its dtype, or -1.
 */
import { INPUT, RAW } from "./memory";

const SIGN: i32 = <i32>0x80000000;
const MAGNITUDE: i32 = 0x7fffffff;
/** The greatest magnitudes, as patterns, that do not become infinite. */
const F32_GREATEST: i32 = 0x7f7fffff;
const BF16_GREATEST: i32 = 0x7f7f7fff;
const F16_GREATEST: i32 = 0x477fefff;
/** 2^-14, the smallest normal f16, and the difference of the two formats' exponent biases. */
const F16_NORMAL: i32 = 0x38800000;
const F16_REBIAS: i32 = 0x38000000;
/** f16 subnormals are multiples of 2^-24: the last bit of an f32 from 0.5 up to 1. */
const HALF: i32 = 0x3f000000;

/** INPUT stays as it is. */
export function checkF32(count: i32): i32 {
  const end = INPUT + ((<usize>(count & ~3)) << 2);
  let greatest = i32x4.splat(0);
  for (let source = INPUT; source < end; source += 16) {
    greatest = i32x4.max_s(greatest, v128.and(v128.load(source), i32x4.splat(MAGNITUDE)));
  }
  return firstAbove(greatest, count, F32_GREATEST);
}

/** 16-bit floats in RAW, which stay as they are. `infinity` is the pattern of theirs. */
export function check16(count: i32, infinity: i32): i32 {
  const end = RAW + ((<usize>(count & ~7)) << 1);
  const mask = i16x8.splat(0x7fff);
  let greatest = i16x8.splat(0);
  for (let source = RAW; source < end; source += 16) {
    greatest = i16x8.max_s(greatest, v128.and(v128.load(source), mask));
  }
  const isFound = v128.any_true(i16x8.ge_s(greatest, i16x8.splat(<i16>infinity)));
  for (let element = isFound ? 0 : count & ~7; element < count; element++) {
    if ((<i32>load<u16>(RAW + ((<usize>element) << 1)) & 0x7fff) >= infinity) return element;
  }
  return -1;
}

/** Adds a number to each of INPUT. */
export function add(count: i32, value: f32): void {
  const end = INPUT + ((<usize>count) << 2);
  const vectorsEnd = INPUT + ((<usize>(count & ~3)) << 2);
  let target = INPUT;
  for (; target < vectorsEnd; target += 16) v128.store(target, f32x4.add(v128.load(target), f32x4.splat(value)));
  for (; target < end; target += 4) store<f32>(target, load<f32>(target) + value);
}

/** INPUT becomes BF16 in RAW. */
export function narrowBF16(count: i32): i32 {
  let source = INPUT;
  let target = RAW;
  let greatest = i32x4.splat(0);
  const end = INPUT + ((<usize>(count & ~7)) << 2);
  for (; source < end; source += 32, target += 16) {
    const low = v128.load(source);
    const high = v128.load(source, 16);
    greatest = i32x4.max_s(greatest, v128.and(low, i32x4.splat(MAGNITUDE)));
    greatest = i32x4.max_s(greatest, v128.and(high, i32x4.splat(MAGNITUDE)));
    v128.store(target, i16x8.narrow_i32x4_u(toBF16(low), toBF16(high)));
  }
  const restEnd = INPUT + ((<usize>count) << 2);
  for (; source < restEnd; source += 4, target += 2) {
    store<u16>(target, <u16>i32x4.extract_lane(toBF16(i32x4.splat(load<i32>(source))), 0));
  }
  return firstAbove(greatest, count, BF16_GREATEST);
}

/** INPUT becomes F16 in RAW. */
export function narrowF16(count: i32): i32 {
  let source = INPUT;
  let target = RAW;
  let greatest = i32x4.splat(0);
  const end = INPUT + ((<usize>(count & ~7)) << 2);
  for (; source < end; source += 32, target += 16) {
    const low = v128.load(source);
    const high = v128.load(source, 16);
    greatest = i32x4.max_s(greatest, v128.and(low, i32x4.splat(MAGNITUDE)));
    greatest = i32x4.max_s(greatest, v128.and(high, i32x4.splat(MAGNITUDE)));
    v128.store(target, i16x8.narrow_i32x4_u(toF16(low), toF16(high)));
  }
  const restEnd = INPUT + ((<usize>count) << 2);
  for (; source < restEnd; source += 4, target += 2) {
    store<u16>(target, <u16>i32x4.extract_lane(toF16(i32x4.splat(load<i32>(source))), 0));
  }
  return firstAbove(greatest, count, F16_GREATEST);
}

/** Four finite f32 as BF16 in 32-bit lanes: half of the last bit is added, less one where that bit is even. */
@inline
function toBF16(values: v128): v128 {
  const odd = v128.and(i32x4.shr_u(values, 16), i32x4.splat(1));
  return i32x4.shr_u(i32x4.add(values, i32x4.add(odd, i32x4.splat(0x7fff))), 16);
}

/** Four f32 that F16 can hold as F16 in 32-bit lanes. */
@inline
export function toF16(values: v128): v128 {
  const magnitude = v128.and(values, i32x4.splat(MAGNITUDE));
  const sign = i32x4.shr_u(v128.and(values, i32x4.splat(SIGN)), 16);
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const rounded = i32x4.add(magnitude, i32x4.add(odd, i32x4.splat(0xfff - F16_REBIAS)));
  // Below the smallest normal f16 the sum with 0.5 rounds to a whole number of steps, and leaves it in its last bits.
  const subnormal = i32x4.sub(f32x4.add(magnitude, i32x4.splat(HALF)), i32x4.splat(HALF));
  const isSubnormal = i32x4.lt_s(magnitude, i32x4.splat(F16_NORMAL));
  return v128.or(v128.bitselect(subnormal, i32x4.shr_u(rounded, 13), isSubnormal), sign);
}

/** `greatest` tells of the whole vectors of INPUT; what stands behind them is looked at here. */
function firstAbove(greatest: v128, count: i32, limit: i32): i32 {
  const isFound = v128.any_true(i32x4.gt_s(greatest, i32x4.splat(limit)));
  for (let element = isFound ? 0 : count & ~7; element < count; element++) {
    if ((load<i32>(INPUT + ((<usize>element) << 2)) & MAGNITUDE) > limit) return element;
  }
  return -1;
}
