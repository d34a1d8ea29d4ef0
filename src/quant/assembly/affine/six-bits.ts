/** Q4_K and Q5_K: sub-blocks of 32, scales and mins of 6 bits, packed alike. */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, OUTPUT } from "../memory";
import { f32ToF16, maxLaneOrZero, packHeader } from "../pack";
import { roundBits } from "../rounding";
import { f16ToF32 } from "../widen";
import { setCandidates, setWeightedCandidates, tryCandidates } from "./candidates";
import { storeClamps } from "./clamp";
import { BY_AVERAGE, BY_IMPORTANCE, MIN, SCALE, groupAddress, prepare, setSubBlock } from "./group";
import { anyLevels, decode, plainLevels } from "./levels";
import { fitScales } from "./scales";
import { CODES, FACTORS } from "./scratch";
import { sumOfSquares } from "./squares";

const MAX_SCALE: f32 = 63;
const Q4K_BYTES: usize = 144;
const Q5K_BYTES: usize = 176;

/**
 * Fits the first `blocks` super-blocks of INPUT into OUTPUT: the bytes of llama.cpp. Returns -1, or the index of the first
 * element that is NaN or infinite; OUTPUT is then undefined.
 */
export function q4k(blocks: i32, isWeighted: bool): i32 {
  storeClamps(15);
  if (isWeighted) setWeightedCandidates(15);
  else setCandidates(-1, 0.1, 21, 14, 15);
  return fitBlocks(blocks, isWeighted, Q4K_BYTES);
}

/** The same for Q5_K. */
export function q5k(blocks: i32, isWeighted: bool): i32 {
  storeClamps(31);
  if (isWeighted) setWeightedCandidates(31);
  else setCandidates(-0.5, 0.1, 16, 10, 31);
  return fitBlocks(blocks, isWeighted, Q5K_BYTES);
}

function fitBlocks(blocks: i32, isWeighted: bool, blockBytes: usize): i32 {
  setSubBlock(32);
  for (let block = 0; block < blocks; block += 2) {
    // Two super-blocks at a time. The last of an odd number is fitted beside itself.
    const second = block + 1 < blocks ? block + 1 : block;
    const a = <usize>block * BLOCK_INPUT_BYTES;
    const b = <usize>second * BLOCK_INPUT_BYTES;
    if (anyLaneNotFinite(isWeighted ? prepareWeighted(a, b) : preparePlain(a, b))) {
      const first = firstNotFinite(INPUT + a, (second - block + 1) * BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    tryCandidates(0, false);
    if (isWeighted) fitScales(2, <i32>MAX_SCALE);
    writeBlock(0, INPUT + a, OUTPUT + <usize>block * blockBytes, isWeighted, blockBytes);
    writeBlock(2, INPUT + b, OUTPUT + <usize>second * blockBytes, isWeighted, blockBytes);
  }
  return -1;
}

/** Both return sums that are finite only if every value is. `a` and `b` are counted from INPUT on. */
function preparePlain(a: usize, b: usize): v128 {
  const sumsA = f32x4.add(prepareHalf(0, a, false, 0), prepareHalf(1, a, false, 0));
  const sumsB = f32x4.add(prepareHalf(2, b, false, 0), prepareHalf(3, b, false, 0));
  return f32x4.add(sumsA, sumsB);
}

function prepareWeighted(a: usize, b: usize): v128 {
  const sums = sumOfSquares(INPUT + a, INPUT + b);
  const meanA: f32 = 2 * f32x4.extract_lane(sums, 0) / <f32>BLOCK_ELEMENTS;
  const meanB: f32 = 2 * f32x4.extract_lane(sums, 1) / <f32>BLOCK_ELEMENTS;
  prepareHalf(0, a, true, meanA);
  prepareHalf(1, a, true, meanA);
  prepareHalf(2, b, true, meanB);
  prepareHalf(3, b, true, meanB);
  return sums;
}

@inline
function prepareHalf(group: usize, block: usize, isWeighted: bool, meanSquare: f32): v128 {
  const half = block + (group & 1) * (BLOCK_INPUT_BYTES / 2);
  return isWeighted
    ? prepare(groupAddress(group), INPUT + half, BY_IMPORTANCE, IMPORTANCE + half, f32x4.splat(meanSquare))
    : prepare(groupAddress(group), INPUT + half, BY_AVERAGE, 0, f32x4.splat(0));
}

/** Quantizes the scales and mins of two fitted groups, then every value with what those decode to. */
function writeBlock(firstGroup: usize, input: usize, output: usize, isWeighted: bool, blockBytes: usize): void {
  const low = groupAddress(firstGroup);
  const high = groupAddress(firstGroup + 1);
  if (isWeighted) writeFittedScales(firstGroup, output, blockBytes == Q5K_BYTES);
  else writeSpreadScales(low, high, output);

  const d = f16ToF32(load<u16>(output));
  const dmin = f16ToF32(load<u16>(output, 2));
  // As they are read back, four bytes at once. With importance they can be others than those written: see `packHeader`.
  const scales = load<u32>(output, 4);
  const mins = load<u32>(output, 8);
  const nibbles = load<u32>(output, 12);
  const scalesHigh = (nibbles & 0x0f0f0f0f) | ((scales >> 2) & 0x30303030);
  const minsHigh = ((nibbles >> 4) & 0x0f0f0f0f) | ((mins >> 2) & 0x30303030);
  const isLowPlain = decode(low, 0, d, dmin, lanesOf(scales & 0x3f3f3f3f), lanesOf(mins & 0x3f3f3f3f));
  const isHighPlain = decode(high, 4, d, dmin, lanesOf(scalesHigh), lanesOf(minsHigh));

  const values = output + 16;
  if (blockBytes == Q4K_BYTES) {
    if (isLowPlain && isHighPlain) writeValues4(firstGroup, input, values, true);
    else writeValues4(firstGroup, input, values, false);
  } else {
    if (isLowPlain && isHighPlain) writeValues5(firstGroup, input, values, true);
    else writeValues5(firstGroup, input, values, false);
  }
}

/** Without importance the greatest scale becomes 63, and so does the greatest min. */
@inline
function writeSpreadScales(low: usize, high: usize, output: usize): void {
  const scalesLow = v128.load(low, SCALE);
  const scalesHigh = v128.load(high, SCALE);
  const minsLow = f32x4.neg(v128.load(low, MIN));
  const minsHigh = f32x4.neg(v128.load(high, MIN));
  const maxScale = maxLaneOrZero(scalesLow, scalesHigh);
  const maxMin = maxLaneOrZero(minsLow, minsHigh);
  const inverseScale: f32 = maxScale > 0 ? MAX_SCALE / maxScale : 0;
  const inverseMin: f32 = maxMin > 0 ? MAX_SCALE / maxMin : 0;
  packHeader(
    output, f32ToF16(maxScale / MAX_SCALE), f32ToF16(maxMin / MAX_SCALE),
    sixBits(inverseScale, scalesLow), sixBits(inverseScale, scalesHigh),
    sixBits(inverseMin, minsLow), sixBits(inverseMin, minsHigh),
  );
}

/** `min(63, round(inverse * scale) & 255)`: a scale's low byte is kept before it is compared, as the reference does. */
@inline
function sixBits(inverse: f32, scales: v128): v128 {
  const bytes = v128.and(roundBits(f32x4.mul(f32x4.splat(inverse), scales)), i32x4.splat(255));
  return i32x4.min_u(bytes, i32x4.splat(<i32>MAX_SCALE));
}

/** Q5_K cuts a byte above 63, of a negative scale, to 63; Q4_K packs all its bits. */
function writeFittedScales(firstGroup: usize, output: usize, isCapped: bool): void {
  const codes = CODES + (firstGroup << 4);
  const factors = FACTORS + (firstGroup << 2);
  const most = i32x4.splat(isCapped ? <i32>MAX_SCALE : 255);
  packHeader(
    output, f32ToF16(load<f32>(factors)), f32ToF16(load<f32>(factors, 4)),
    i32x4.min_s(v128.load(codes), most), i32x4.min_s(v128.load(codes, 64), most),
    i32x4.min_s(v128.load(codes, 16), most), i32x4.min_s(v128.load(codes, 80), most),
  );
}

/** The four bytes as 32-bit lanes. */
@inline
function lanesOf(bytes: u32): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(i32x4.splat(bytes)));
}

/** Byte l of pair k holds value l of sub-block 2k low, of sub-block 2k + 1 high. `isPlain` is a constant. */
@inline
function writeValues4(firstGroup: usize, input: usize, output: usize, isPlain: bool): void {
  for (let index: usize = 0; index < 8; index += 2, input += 256, output += 32) {
    for (let half: usize = 0; half < 2; half++) {
      const low = levels(input + half * 64, index, firstGroup, isPlain);
      const high = levels(input + half * 64 + 128, index + 1, firstGroup, isPlain);
      v128.store(output + half * 16, v128.or(low, i16x8.shl(high, 4)));
    }
  }
}

/** The fifth bits first: bit j of byte l is that of value l of sub-block j. Then the others as in Q4_K. */
@inline
function writeValues5(firstGroup: usize, input: usize, output: usize, isPlain: bool): void {
  const fifthBit = i8x16.splat(16);
  for (let half: usize = 0; half < 2; half++) {
    let fifths = i8x16.splat(0);
    for (let index: usize = 0; index < 8; index += 2) {
      const at = input + half * 64 + index * 128;
      const low = levels(at, index, firstGroup, isPlain);
      const high = levels(at + 128, index + 1, firstGroup, isPlain);
      // Bits move through the byte from above: two places a pair, and the first pair ends at bits 0 and 1.
      const pair = v128.or(i16x8.shl(v128.and(low, fifthBit), 2), i16x8.shl(v128.and(high, fifthBit), 3));
      fifths = v128.or(i16x8.shr_u(v128.and(fifths, i8x16.splat(<i8>0xfc)), 2), pair);
      const mask = i8x16.splat(15);
      v128.store(output + 32 + index * 16 + half * 16, v128.or(v128.and(low, mask), i16x8.shl(v128.and(high, mask), 4)));
    }
    v128.store(output + half * 16, fifths);
  }
}

@inline
function levels(values: usize, index: usize, firstGroup: usize, isPlain: bool): v128 {
  return isPlain ? plainLevels(values, index) : anyLevels(values, index, firstGroup);
}
