/** IQ4_NL and IQ4_XS: 4-bit codes of uneven levels, in blocks of 32 with a scale, and in super-blocks with 8 scales. */
import { sumOfSquares } from "../affine/squares";
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import {
  BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, LEVEL_SCALES, OUTPUT, SUB_BLOCK_ELEMENTS, SUB_BLOCK_INPUT_BYTES,
} from "../memory";
import { f32ToF16 } from "../pack";
import { roundBits } from "../rounding";
import { bytesOf, storeNibbles } from "./codes";
import { loadValues, searchScales, squaresOfEach, weigh, weighPlainly } from "./level-search";
import { ABOVE, LEVELS, nearestCodeOfAny, storeLevels } from "./levels";

const NL_BYTES: usize = 18;
const XS_BYTES: usize = 136;
const FOUR_BYTES: usize = 4 * SUB_BLOCK_INPUT_BYTES;

/** At LEVEL_SCALES: scales of eight times 32 values, and behind them 1 / scale, as codes are chosen with them. */
const INVERSES: usize = 32;

export function iq4_nl(blocks: i32, isWeighted: bool): i32 {
  storeLevels();
  // Four blocks are always done: behind the last one may stand anything.
  for (let block = 0; block < blocks; block += 4) {
    const offset = <usize>block * SUB_BLOCK_INPUT_BYTES;
    const input = INPUT + offset;
    if (anyLaneNotFinite(loadValues(input))) {
      const bad = firstNotFinite(input, min(4, blocks - block) * SUB_BLOCK_ELEMENTS);
      if (bad >= 0) return block * SUB_BLOCK_ELEMENTS + bad;
    }
    if (isWeighted) weigh(IMPORTANCE + offset, f32x4.mul(squaresOfEach(), f32x4.splat(2.0 / 32)));
    else weighPlainly();
    const scales = searchScales();
    v128.store(LEVEL_SCALES, scales);
    v128.store(LEVEL_SCALES, inversesOf(scales), INVERSES);
    let output = OUTPUT + <usize>block * NL_BYTES;
    for (let i: usize = 0; i < 4; i++) {
      const scale = LEVEL_SCALES + 4 * i;
      store<u16>(output, f32ToF16(load<f32>(scale)));
      writeCodes(output + 2, input + i * SUB_BLOCK_INPUT_BYTES, v128.load32_splat(scale, INVERSES));
      output += NL_BYTES;
    }
  }
  return -1;
}

export function iq4_xs(blocks: i32, isWeighted: bool): i32 {
  storeLevels();
  let squares = f32x4.splat(0);
  for (let block = 0; block < blocks; block++) {
    const offset = <usize>block * BLOCK_INPUT_BYTES;
    const input = INPUT + offset;
    // Of two super-blocks at once; behind the last one may stand anything.
    const isOdd = (block & 1) == 1;
    if (isWeighted && !isOdd) squares = sumOfSquares(input, input + BLOCK_INPUT_BYTES);
    const ownSquares = isOdd ? f32x4.extract_lane(squares, 1) : f32x4.extract_lane(squares, 0);
    const meanSquare = f32x4.splat(ownSquares * (2.0 / 256));
    let sum = f32x4.splat(0);
    for (let half: usize = 0; half < 2; half++) {
      sum = f32x4.add(sum, loadValues(input + half * FOUR_BYTES));
      if (isWeighted) weigh(IMPORTANCE + offset + half * FOUR_BYTES, meanSquare);
      else weighPlainly();
      v128.store(LEVEL_SCALES + 16 * half, searchScales());
    }
    if (anyLaneNotFinite(sum)) {
      const bad = firstNotFinite(input, BLOCK_ELEMENTS);
      if (bad >= 0) return block * BLOCK_ELEMENTS + bad;
    }
    const output = OUTPUT + <usize>block * XS_BYTES;
    writeScales(output);
    for (let j: usize = 0; j < 8; j++) {
      const inverse = v128.load32_splat(LEVEL_SCALES + 4 * j, INVERSES);
      writeCodes(output + 8 + 16 * j, input + j * SUB_BLOCK_INPUT_BYTES, inverse);
    }
  }
  return -1;
}

/** d and the 6-bit scales of a super-block; leaves at INVERSES what codes are chosen with: d as it was before f16. */
@inline
function writeScales(output: usize): void {
  let top: f32 = 0;
  for (let scale: usize = LEVEL_SCALES; scale < LEVEL_SCALES + 32; scale += 4) {
    const value = load<f32>(scale);
    if (abs(value) > abs(top)) top = value;
  }
  const d = -top / 32;
  const inverse = f32x4.splat(d == 0 ? 0 : 1 / d);
  store<u16>(output, f32ToF16(d));
  let high: u32 = 0;
  let low: u32 = 0;
  for (let half: usize = 0; half < 2; half++) {
    const place = LEVEL_SCALES + 16 * half;
    const rounded = roundBits(f32x4.mul(inverse, v128.load(place)));
    const scales = i32x4.min_s(i32x4.max_s(rounded, i32x4.splat(-32)), i32x4.splat(31));
    v128.store(place, inversesOf(f32x4.mul(f32x4.splat(d), f32x4.convert_i32x4_s(scales))), INVERSES);
    // Lane n goes to the n-th nibble of 16 bits, and its upper bits to the n-th two of 8.
    const stored = i32x4.add(scales, i32x4.splat(32));
    low |= joinLanes(v128.and(stored, i32x4.splat(15)), 4) << (16 * <u32>half);
    high |= joinLanes(i32x4.shr_u(stored, 4), 2) << (8 * <u32>half);
  }
  store<u16>(output, high, 2);
  store<u32>(output, low, 4);
}

@inline
function joinLanes(lanes: v128, bits: u32): u32 {
  return i32x4.extract_lane(lanes, 0) | (i32x4.extract_lane(lanes, 1) << bits)
    | (i32x4.extract_lane(lanes, 2) << (2 * bits)) | (i32x4.extract_lane(lanes, 3) << (3 * bits));
}

/** 1 / scale, and 0 where that is 0. */
@inline
function inversesOf(scales: v128): v128 {
  return v128.and(f32x4.div(f32x4.splat(1), scales), f32x4.ne(scales, f32x4.splat(0)));
}

/** The 16 bytes of 32 codes. */
@inline
function writeCodes(output: usize, input: usize, inverse: v128): void {
  const levels = v128.load(LEVELS);
  const above = v128.load(ABOVE);
  storeNibbles(output, sixteenCodes(input, inverse, levels, above), sixteenCodes(input + 64, inverse, levels, above));
}

@inline
function sixteenCodes(values: usize, inverse: v128, levels: v128, above: v128): v128 {
  return bytesOf(
    code(v128.load(values), inverse, levels, above),
    code(v128.load(values, 16), inverse, levels, above),
    code(v128.load(values, 32), inverse, levels, above),
    code(v128.load(values, 48), inverse, levels, above),
  );
}

@inline
function code(x: v128, inverse: v128, levels: v128, above: v128): v128 {
  return v128.and(nearestCodeOfAny(f32x4.mul(inverse, x), levels, above), i32x4.splat(0xff));
}
