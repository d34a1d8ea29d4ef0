/** Q3_K: four groups of four sub-blocks of 16 make a super-block. */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, OUTPUT } from "../memory";
import { f32ToF16, storeBytes } from "../pack";
import { roundBits } from "../rounding";
import { f16ToF32 } from "../widen";
import { descend } from "./descent";
import { CODES, SCALES, SUM_W, WEIGHT, groupAddress, loadValues, transpose } from "./group";
import { SCALE_CODES, SCALE_WEIGHTS, searchScaleOfScales, storeScaleNumerators } from "./scales";
import { ImportanceAndSize, storeConstants, sumCandidates, takeBest } from "./search";
import { sumSquaresOfFour } from "./squares";
import { chooseCodes, gatherScales, keepDescended, keepSearched, someStepIsZero, storeSteps } from "./values";

const BLOCK_BYTES: usize = 110;
const LOW_OFFSET: usize = 32;
const SCALES_OFFSET: usize = 96;
const SCALE_OFFSET: usize = 108;

const SUB_BLOCK: usize = 16;
const ZERO = 4;
const SCALE_ZERO = 32;

/**
 * Fits the first `blocks` super-blocks of INPUT into OUTPUT. Returns -1, or the index of the first element that is NaN or
 * infinite; OUTPUT is then undefined.
 */
export function q3k(blocks: i32, isWeighted: bool): i32 {
  storeConstants(<f32>ZERO);
  storeScaleNumerators();
  let meanSquares = f32x4.splat(0);
  for (let block = 0; block < blocks; block++) {
    const input = INPUT + <usize>block * BLOCK_INPUT_BYTES;
    const output = OUTPUT + <usize>block * BLOCK_BYTES;
    if (isWeighted) {
      // Four sums at a time: each is one chain of additions. Behind the last super-block they mean nothing.
      meanSquares = block & 3
        ? i32x4.shuffle(meanSquares, meanSquares, 1, 2, 3, 0)
        : f32x4.div(f32x4.mul(f32x4.splat(2), sumSquaresOfFour(input)), f32x4.splat(<f32>BLOCK_ELEMENTS));
    }
    const sums = isWeighted
      ? search(input, IMPORTANCE + <usize>block * BLOCK_INPUT_BYTES, i32x4.shuffle(meanSquares, meanSquares, 0, 0, 0, 0))
      : descendGroups(input);
    if (anyLaneNotFinite(sums)) {
      const first = firstNotFinite(input, BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    const d = f32ToF16(isWeighted ? searchScaleOfScales(gatherScales()) : divideScales(gatherScales()));
    const scales = v128.load(SCALE_CODES);
    storeSteps(f16ToF32(d), i8x16.sub(scales, i8x16.splat(<i8>SCALE_ZERO)));
    chooseCodes(input, ZERO);
    if (someStepIsZero()) {
      if (isWeighted) keepSearched(ZERO);
      else keepDescended(ZERO);
    }
    packCodes3(output, CODES);
    packScales3(output, scales);
    store<u16>(output, d, SCALE_OFFSET);
  }
  return -1;
}

function descendGroups(input: usize): v128 {
  let sums = f32x4.splat(0);
  for (let index: usize = 0; index < 4; index++) {
    const group = groupAddress(index);
    loadValues(group, input + (index << 8), SUB_BLOCK);
    sums = f32x4.add(sums, descend(group, SUB_BLOCK, ZERO));
  }
  return sums;
}

function search(input: usize, importance: usize, meanSquare: v128): v128 {
  let sums = f32x4.splat(0);
  for (let index: usize = 0; index < 4; index++) {
    const group = groupAddress(index);
    loadValues(group, input + (index << 8), SUB_BLOCK);
    transpose(group, WEIGHT, importance + (index << 8), SUB_BLOCK);
    sums = f32x4.add(sums, sumCandidates<ImportanceAndSize>(group, SUB_BLOCK, <f32>ZERO, meanSquare));
    v128.store(SCALE_WEIGHTS + (index << 4), v128.load(group, SUM_W));
  }
  takeBest(groupAddress(0), groupAddress(1));
  takeBest(groupAddress(2), groupAddress(3));
  return sums;
}

/** Leaves SCALE_CODES without importance: what the largest scale divides to. Returns the scale of the scales. */
function divideScales(maxScale: f32): f32 {
  if (maxScale == 0) {
    v128.store(SCALE_CODES, i32x4.splat(0));
    return 0;
  }
  const inverse: f32 = <f32>-SCALE_ZERO / maxScale;
  storeBytes(
    SCALE_CODES,
    scaleCode(inverse, SCALES),
    scaleCode(inverse, SCALES + 16),
    scaleCode(inverse, SCALES + 32),
    scaleCode(inverse, SCALES + 48),
  );
  return <f32>1 / inverse;
}

/** The reference cuts to a signed byte before it clamps. */
@inline
function scaleCode(inverse: f32, scales: usize): v128 {
  const rounded = roundBits(f32x4.mul(f32x4.splat(inverse), v128.load(scales)));
  const byte = i32x4.shr_s(i32x4.shl(rounded, 24), 24);
  const clamped = i32x4.min_s(i32x4.max_s(byte, i32x4.splat(-SCALE_ZERO)), i32x4.splat(SCALE_ZERO - 1));
  return i32x4.add(clamped, i32x4.splat(SCALE_ZERO));
}

/** Low four bits two a byte, then the upper two bits four a byte. */
@inline
export function packScales3(output: usize, scales: v128): void {
  const first = i64x2.extract_lane(scales, 0);
  const second = i64x2.extract_lane(scales, 1);
  const LOW_FOUR: i64 = 0x0f0f0f0f0f0f0f0f;
  const TOP_TWO: i64 = 0x30303030;
  store<i64>(output, (first & LOW_FOUR) | ((second & LOW_FOUR) << 4), SCALES_OFFSET);
  const low = ((first & TOP_TWO) >> 4) | (((first >>> 32) & TOP_TWO) >> 2);
  const high = (second & TOP_TWO) | (((second >>> 32) & TOP_TWO) << 2);
  store<u32>(output, <u32>(low | high), SCALES_OFFSET + 8);
}

/** Eight runs of 32 values share the bytes of high bits, four runs those of low ones. */
@inline
export function packCodes3(output: usize, values: usize): void {
  const lowBits = i8x16.splat(3);
  const highBit = i8x16.splat(4);
  for (let part: usize = 0; part < 32; part += 16) {
    let high = i8x16.splat(0);
    for (let half: usize = 0; half < 2; half++) {
      const codes = values + (half << 7) + part;
      const a = v128.load(codes);
      const b = v128.load(codes, 32);
      const c = v128.load(codes, 64);
      const d = v128.load(codes, 96);
      // Codes are below 8: no shift of lanes of 16 bits moves a bit between bytes.
      const ab = v128.or(v128.and(a, lowBits), i16x8.shl(v128.and(b, lowBits), 2));
      const cd = v128.or(i16x8.shl(v128.and(c, lowBits), 4), i16x8.shl(v128.and(d, lowBits), 6));
      v128.store(output + (half << 5) + part, v128.or(ab, cd), LOW_OFFSET);
      const highAB = v128.or(i16x8.shr_u(v128.and(a, highBit), 2), i16x8.shr_u(v128.and(b, highBit), 1));
      const highCD = v128.or(v128.and(c, highBit), i16x8.shl(v128.and(d, highBit), 1));
      const four = v128.or(highAB, highCD);
      high = v128.or(high, half ? i16x8.shl(four, 4) : four);
    }
    v128.store(output + part, high);
  }
}
