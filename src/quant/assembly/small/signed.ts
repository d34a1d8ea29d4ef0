/** Q4_0, Q5_0 and Q8_0: a scale alone. The searches that importance asks for are elsewhere. */
import { INPUT, OUTPUT, SUB_BLOCK_INPUT_BYTES } from "../memory";
import { JUST_BELOW_HALF } from "../rounding";
import { q4_0Weighted, q5_0Weighted } from "../signed/small";
import { bytesOf, lowByte, storeFiveBits, storeNibbles } from "./codes";
import { BATCH, findScales, HALVES, INVERSES, MAGNITUDE_BY_127, TOP_BY_16, TOP_BY_8 } from "./scales";

const Q4_0_BYTES: usize = 18;
const Q5_0_BYTES: usize = 22;
const Q8_0_BYTES: usize = 34;

export function q4_0(blocks: i32, isWeighted: bool): i32 {
  if (isWeighted) return q4_0Weighted(blocks);
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = findScales(first, count, TOP_BY_8);
    if (bad >= 0) return bad;
    let input = INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES;
    let output = OUTPUT + <usize>first * Q4_0_BYTES;
    const most = i8x16.splat(15);
    for (let place: usize = 0; place < 4 * <usize>count; place += 4) {
      const inverse = v128.load32_splat(place, INVERSES);
      store<u16>(output, load<u16>(place, HALVES));
      const low = i8x16.min_u(codes(input, inverse, 8.5), most);
      const high = i8x16.min_u(codes(input + 64, inverse, 8.5), most);
      storeNibbles(output + 2, low, high);
      input += SUB_BLOCK_INPUT_BYTES;
      output += Q4_0_BYTES;
    }
  }
  return -1;
}

export function q5_0(blocks: i32, isWeighted: bool): i32 {
  if (isWeighted) return q5_0Weighted(blocks);
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = findScales(first, count, TOP_BY_16);
    if (bad >= 0) return bad;
    let input = INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES;
    let output = OUTPUT + <usize>first * Q5_0_BYTES;
    const most = i8x16.splat(31);
    for (let place: usize = 0; place < 4 * <usize>count; place += 4) {
      const inverse = v128.load32_splat(place, INVERSES);
      store<u16>(output, load<u16>(place, HALVES));
      const low = i8x16.min_u(codes(input, inverse, 16.5), most);
      const high = i8x16.min_u(codes(input + 64, inverse, 16.5), most);
      storeFiveBits(output + 2, low, high);
      input += SUB_BLOCK_INPUT_BYTES;
      output += Q5_0_BYTES;
    }
  }
  return -1;
}

/** An importance matrix does not count. */
export function q8_0(blocks: i32, _isWeighted: bool): i32 {
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = findScales(first, count, MAGNITUDE_BY_127);
    if (bad >= 0) return bad;
    let input = INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES;
    let output = OUTPUT + <usize>first * Q8_0_BYTES;
    for (let place: usize = 0; place < 4 * <usize>count; place += 4) {
      const inverse = v128.load32_splat(place, INVERSES);
      store<u16>(output, load<u16>(place, HALVES));
      v128.store(output, signedCodes(input, inverse), 2);
      v128.store(output, signedCodes(input + 64, inverse), 18);
      input += SUB_BLOCK_INPUT_BYTES;
      output += Q8_0_BYTES;
    }
  }
  return -1;
}

/** 16 codes: the whole part of `x * inverse + zero`. */
@inline
function codes(values: usize, inverse: v128, zero: f32): v128 {
  return bytesOf(
    code(v128.load(values), inverse, zero),
    code(v128.load(values, 16), inverse, zero),
    code(v128.load(values, 32), inverse, zero),
    code(v128.load(values, 48), inverse, zero),
  );
}

@inline
function code(x: v128, inverse: v128, zero: f32): v128 {
  return lowByte(f32x4.floor(f32x4.add(f32x4.mul(x, inverse), f32x4.splat(zero))));
}

/** 16 codes: `x * inverse` rounded, half away from zero. */
@inline
function signedCodes(values: usize, inverse: v128): v128 {
  return bytesOf(
    signedCode(v128.load(values), inverse),
    signedCode(v128.load(values, 16), inverse),
    signedCode(v128.load(values, 32), inverse),
    signedCode(v128.load(values, 48), inverse),
  );
}

@inline
function signedCode(x: v128, inverse: v128): v128 {
  const multiple = f32x4.mul(x, inverse);
  const half = v128.or(v128.and(multiple, i32x4.splat(<i32>0x80000000)), f32x4.splat(JUST_BELOW_HALF));
  return lowByte(f32x4.trunc(f32x4.add(multiple, half)));
}
