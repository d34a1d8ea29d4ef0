/**
 * Q2_K: sub-blocks of 16, scales and mins of 4 bits.
 *
 * Without importance 85 % of the time are the candidates, and of a turn about half is outside its loop of 16 elements. Tried
 * without gain: elements two or four a round of the loop, one form of rounding for all, min and max found while transposing,
 * the third division only where it is needed.
 */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, OUTPUT } from "../memory";
import { f32ToF16, lowBytes, maxLaneOrZero } from "../pack";
import { roundBits } from "../rounding";
import { f16ToF32 } from "../widen";
import { setCandidates, setWeightedCandidates, tryCandidates } from "./candidates";
import { storeClamps } from "./clamp";
import { BY_IMPORTANCE, BY_MAGNITUDE, MIN, SCALE, groupAddress, prepare, setSubBlock } from "./group";
import { anyLevels, decode, plainLevels } from "./levels";
import { fitScales } from "./scales";
import { CODES, FACTORS } from "./scratch";
import { sumOfSquares } from "./squares";

const MAX_VALUE: f32 = 3;
const MAX_SCALE: f32 = 15;
const BLOCK_BYTES: usize = 84;
const VALUES_OFFSET: usize = 16;
const D_OFFSET: usize = 80;
/** Four groups of four sub-blocks. */
const GROUPS_A_BLOCK: usize = 4;

/**
 * Fits the first `blocks` super-blocks of INPUT into OUTPUT: the bytes of llama.cpp. Returns -1, or the index of the first
 * element that is NaN or infinite; OUTPUT is then undefined.
 */
export function q2k(blocks: i32, isWeighted: bool): i32 {
  storeClamps(MAX_VALUE);
  setSubBlock(16);
  if (isWeighted) setWeightedCandidates(MAX_VALUE);
  else setCandidates(-0.5, 0.1, 16, 16, MAX_VALUE);
  for (let block = 0; block < blocks; block += 2) {
    // Two super-blocks at a time. The last of an odd number is fitted beside itself.
    const second = block + 1 < blocks ? block + 1 : block;
    const a = <usize>block * BLOCK_INPUT_BYTES;
    const b = <usize>second * BLOCK_INPUT_BYTES;
    if (anyLaneNotFinite(isWeighted ? fitWeighted(a, b) : fitPlain(a, b))) {
      const first = firstNotFinite(INPUT + a, (second - block + 1) * BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    writeBlock(0, INPUT + a, OUTPUT + <usize>block * BLOCK_BYTES, isWeighted);
    writeBlock(GROUPS_A_BLOCK, INPUT + b, OUTPUT + <usize>second * BLOCK_BYTES, isWeighted);
  }
  return -1;
}

/** Both return sums that are finite only if every value is. `a` and `b` are counted from INPUT on. */
function fitPlain(a: usize, b: usize): v128 {
  let sums = f32x4.splat(0);
  for (let group: usize = 0; group < 2 * GROUPS_A_BLOCK; group++) {
    const input = INPUT + placeOf(group, a, b);
    sums = f32x4.add(sums, prepare(groupAddress(group), input, BY_MAGNITUDE, 0, f32x4.splat(0)));
  }
  tryCandidates(0, true);
  tryCandidates(GROUPS_A_BLOCK, true);
  return sums;
}

function fitWeighted(a: usize, b: usize): v128 {
  const sums = sumOfSquares(INPUT + a, INPUT + b);
  for (let group: usize = 0; group < 2 * GROUPS_A_BLOCK; group++) {
    const sum = group < GROUPS_A_BLOCK ? f32x4.extract_lane(sums, 0) : f32x4.extract_lane(sums, 1);
    const meanSquare = f32x4.splat(sum / <f32>BLOCK_ELEMENTS);
    const place = placeOf(group, a, b);
    prepare(groupAddress(group), INPUT + place, BY_IMPORTANCE, IMPORTANCE + place, meanSquare);
  }
  tryCandidates(0, false);
  tryCandidates(GROUPS_A_BLOCK, false);
  fitScales(GROUPS_A_BLOCK, <i32>MAX_SCALE);
  return sums;
}

@inline
function placeOf(group: usize, a: usize, b: usize): usize {
  return (group < GROUPS_A_BLOCK ? a : b) + (group & 3) * (BLOCK_INPUT_BYTES / 4);
}

/** Quantizes the scales and mins of a super-block, then every value with what those decode to. */
function writeBlock(firstGroup: usize, input: usize, output: usize, isWeighted: bool): void {
  if (isWeighted) writeFittedScales(firstGroup, output);
  else writeSpreadScales(firstGroup, output);

  const d = f16ToF32(load<u16>(output + D_OFFSET));
  const dmin = f16ToF32(load<u16>(output + D_OFFSET, 2));
  let isPlain = true;
  for (let i: usize = 0; i < GROUPS_A_BLOCK; i++) {
    const bytes = v128.load32_zero(output + i * 4);
    const lanes = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(bytes));
    const scales = v128.and(lanes, i32x4.splat(15));
    isPlain = decode(groupAddress(firstGroup + i), i * 4, d, dmin, scales, i32x4.shr_u(lanes, 4)) && isPlain;
  }
  if (isPlain) writeValues(firstGroup, input, output + VALUES_OFFSET, true);
  else writeValues(firstGroup, input, output + VALUES_OFFSET, false);
}

/** Without importance the greatest scale becomes 15, and so does the greatest min. Only low bytes are kept. */
function writeSpreadScales(firstGroup: usize, output: usize): void {
  const maxScale = maxOf(firstGroup, SCALE, false);
  const maxMin = maxOf(firstGroup, MIN, true);
  const inverseScale = f32x4.splat(maxScale > 0 ? MAX_SCALE / maxScale : 0);
  const inverseMin = f32x4.splat(maxMin > 0 ? MAX_SCALE / maxMin : 0);
  for (let i: usize = 0; i < GROUPS_A_BLOCK; i++) {
    const group = groupAddress(firstGroup + i);
    const scales = roundBits(f32x4.mul(inverseScale, v128.load(group, SCALE)));
    const mins = roundBits(f32x4.mul(inverseMin, f32x4.neg(v128.load(group, MIN))));
    store<u32>(output + i * 4, lowBytes(v128.or(scales, i32x4.shl(mins, 4))));
  }
  store<u16>(output + D_OFFSET, f32ToF16(maxScale / MAX_SCALE));
  store<u16>(output + D_OFFSET, f32ToF16(maxMin / MAX_SCALE), 2);
}

@inline
function maxOf(firstGroup: usize, field: usize, isNegated: bool): f32 {
  let greatest: f32 = 0;
  for (let i: usize = 0; i < GROUPS_A_BLOCK; i += 2) {
    const low = v128.load(groupAddress(firstGroup + i) + field);
    const high = v128.load(groupAddress(firstGroup + i + 1) + field);
    const most = isNegated ? maxLaneOrZero(f32x4.neg(low), f32x4.neg(high)) : maxLaneOrZero(low, high);
    if (most > greatest) greatest = most;
  }
  return greatest;
}

function writeFittedScales(firstGroup: usize, output: usize): void {
  // Those of the second super-block stand behind those of the first, group by group.
  const isSecond: usize = firstGroup == 0 ? 0 : 1;
  for (let i: usize = 0; i < GROUPS_A_BLOCK; i++) {
    const codes = CODES + i * 64 + isSecond * 32;
    store<u32>(output + i * 4, lowBytes(v128.or(v128.load(codes), i32x4.shl(v128.load(codes, 16), 4))));
  }
  const factors = FACTORS + isSecond * 8;
  store<u16>(output + D_OFFSET, f32ToF16(load<f32>(factors)));
  store<u16>(output + D_OFFSET, f32ToF16(load<f32>(factors, 4)), 2);
}

/** Byte l of a half holds its values l, l + 32, l + 64 and l + 96, from the low bits up. `isPlain` is a constant. */
@inline
function writeValues(firstGroup: usize, input: usize, output: usize, isPlain: bool): void {
  for (let half: usize = 0; half < 2; half++) {
    for (let part: usize = 0; part < 2; part++) {
      const index = half * 8 + part;
      const a = levels(input, index, firstGroup, isPlain);
      const b = levels(input, index + 2, firstGroup, isPlain);
      const c = levels(input, index + 4, firstGroup, isPlain);
      const d = levels(input, index + 6, firstGroup, isPlain);
      const low = v128.or(a, i16x8.shl(b, 2));
      const high = v128.or(i16x8.shl(c, 4), i16x8.shl(d, 6));
      v128.store(output + half * 32 + part * 16, v128.or(low, high));
    }
  }
}

@inline
function levels(input: usize, index: usize, firstGroup: usize, isPlain: bool): v128 {
  const values = input + index * 64;
  return isPlain ? plainLevels(values, index) : anyLevels(values, index, firstGroup);
}
