/** Blocks of 32 without importance: Q4_0, Q5_0, Q8_0, Q4_1, Q5_1. The rule by which d is found is all that tells them apart. */
import { INPUT, OUTPUT, SUB_BLOCK_INPUT_BYTES } from "../memory";
import { JUST_BELOW_HALF } from "../rounding";
import { bytesOf, lowByte, storeFiveBits, storeNibbles } from "./codes";
import {
  BATCH, findScales, HALVES, INVERSES, MAGNITUDE_BY_127, MIN_HALVES, MINS, RANGE_BY_15, TOP_BY_16, TOP_BY_8,
} from "./scales";

/** Fits the first `blocks` blocks of INPUT. `rule` is a constant of each place of call. */
@inline
export function fitPlain(blocks: i32, rule: i32): i32 {
  const bytes: usize = rule == TOP_BY_8 ? 18 : rule == TOP_BY_16 ? 22 : rule == MAGNITUDE_BY_127 ? 34
    : rule == RANGE_BY_15 ? 20 : 24;
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = findScales(first, count, rule);
    if (bad >= 0) return bad;
    let input = INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES;
    let output = OUTPUT + <usize>first * bytes;
    for (let place: usize = 0; place < 4 * <usize>count; place += 4) {
      if (rule == TOP_BY_8 || rule == TOP_BY_16 || rule == MAGNITUDE_BY_127) writeScaled(place, input, output, rule);
      else writeWithMin(place, input, output, rule);
      input += SUB_BLOCK_INPUT_BYTES;
      output += bytes;
    }
  }
  return -1;
}

/** A block with a scale alone. */
@inline
function writeScaled(place: usize, input: usize, output: usize, rule: i32): void {
  const inverse = v128.load32_splat(place, INVERSES);
  const none = f32x4.splat(0);
  store<u16>(output, load<u16>(place, HALVES));
  const low = codes(input, none, inverse, rule);
  const high = codes(input + 64, none, inverse, rule);
  if (rule == TOP_BY_8) {
    storeNibbles(output + 2, i8x16.min_u(low, i8x16.splat(15)), i8x16.min_u(high, i8x16.splat(15)));
  } else if (rule == TOP_BY_16) {
    storeFiveBits(output + 2, i8x16.min_u(low, i8x16.splat(31)), i8x16.min_u(high, i8x16.splat(31)));
  } else {
    v128.store(output, low, 2);
    v128.store(output, high, 18);
  }
}

/** A block with scale and min. No code is out of range. */
@inline
function writeWithMin(place: usize, input: usize, output: usize, rule: i32): void {
  const inverse = v128.load32_splat(place, INVERSES);
  const least = v128.load32_splat(place, MINS);
  store<u32>(output, load<u32>(place, HALVES) | (load<u32>(place, MIN_HALVES) << 16));
  const low = codes(input, least, inverse, rule);
  const high = codes(input + 64, least, inverse, rule);
  if (rule == RANGE_BY_15) storeNibbles(output + 4, low, high);
  else storeFiveBits(output + 4, low, high);
}

/** 16 codes. */
@inline
function codes(values: usize, least: v128, inverse: v128, rule: i32): v128 {
  return bytesOf(
    code(v128.load(values), least, inverse, rule),
    code(v128.load(values, 16), least, inverse, rule),
    code(v128.load(values, 32), least, inverse, rule),
    code(v128.load(values, 48), least, inverse, rule),
  );
}

@inline
function code(x: v128, least: v128, inverse: v128, rule: i32): v128 {
  if (rule == TOP_BY_8 || rule == TOP_BY_16) {
    const zero = f32x4.splat(rule == TOP_BY_8 ? 8.5 : 16.5);
    return lowByte(f32x4.floor(f32x4.add(f32x4.mul(x, inverse), zero)));
  }
  if (rule == MAGNITUDE_BY_127) {
    const multiple = f32x4.mul(x, inverse);
    const half = v128.or(v128.and(multiple, i32x4.splat(<i32>0x80000000)), f32x4.splat(JUST_BELOW_HALF));
    return lowByte(f32x4.trunc(f32x4.add(multiple, half)));
  }
  return lowByte(f32x4.floor(f32x4.add(f32x4.mul(f32x4.sub(x, least), inverse), f32x4.splat(0.5))));
}
