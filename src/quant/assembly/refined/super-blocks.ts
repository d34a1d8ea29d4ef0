/** Refined Q4_K, Q5_K and Q2_K: super-blocks of scales and mins. */
import { storeClamps } from "../affine/clamp";
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, OUTPUT } from "../memory";
import { f32ToF16, lowBytes, packHeader } from "../pack";
import { MIN_CODE, SCALE_CODE, setType } from "./affine-group";
import { d, dmin, refine, spread, storeValues } from "./affine-rounds";
import { start } from "./affine-start";
import { loadValues, loadWeights, weightFactor } from "./block";
import { groupAddress, VALUES } from "./scratch";

const Q2K_BYTES: usize = 84;
const Q4K_BYTES: usize = 144;
const Q5K_BYTES: usize = 176;
const PLAIN_ROUNDS: i32 = 2;
const WEIGHTED_ROUNDS: i32 = 4;

/**
 * Fits the first `blocks` super-blocks of INPUT into OUTPUT. Returns -1, or the index of the first element that is NaN or
 * infinite; OUTPUT is then undefined.
 */
export function refinedQ4k(blocks: i32, isWeighted: bool): i32 {
  storeClamps(15);
  setType(2, 32, 15, 63);
  return fitBlocks(blocks, isWeighted, 2, Q4K_BYTES);
}

export function refinedQ5k(blocks: i32, isWeighted: bool): i32 {
  storeClamps(31);
  setType(2, 32, 31, 63);
  return fitBlocks(blocks, isWeighted, 2, Q5K_BYTES);
}

export function refinedQ2k(blocks: i32, isWeighted: bool): i32 {
  storeClamps(3);
  setType(4, 16, 3, 15);
  return fitBlocks(blocks, isWeighted, 4, Q2K_BYTES);
}

function fitBlocks(blocks: i32, isWeighted: bool, groups: usize, blockBytes: usize): i32 {
  for (let block = 0; block < blocks; block++) {
    const place = <usize>block * BLOCK_INPUT_BYTES;
    if (anyLaneNotFinite(loadAll(groups, INPUT + place))) {
      const first = firstNotFinite(INPUT + place, BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    if (isWeighted) {
      weigh(groups, IMPORTANCE + place);
      fitWeighted(groups);
    } else {
      fitPlain(groups);
    }
    storeValues(INPUT + place);
    const output = OUTPUT + <usize>block * blockBytes;
    if (blockBytes == Q2K_BYTES) {
      packTwoBits(output);
    } else {
      packSixBits(output);
      if (blockBytes == Q4K_BYTES) packFourBits(output + 16);
      else packFiveBits(output + 16);
    }
  }
  return -1;
}

function loadAll(groups: usize, input: usize): v128 {
  let sum = f32x4.splat(0);
  const bytes = BLOCK_INPUT_BYTES / groups;
  for (let i: usize = 0; i < groups; i++) {
    sum = f32x4.add(sum, loadValues(groupAddress(i), input + i * bytes, bytes >> 4));
  }
  return sum;
}

function weigh(groups: usize, importance: usize): void {
  const factor = weightFactor(importance);
  const bytes = BLOCK_INPUT_BYTES / groups;
  for (let i: usize = 0; i < groups; i++) loadWeights(groupAddress(i), importance + i * bytes, bytes >> 4, factor);
}

function fitPlain(groups: usize): void {
  for (let i: usize = 0; i < groups; i++) start(groupAddress(i), false);
  spread();
  for (let round = 0; round < PLAIN_ROUNDS; round++) {
    if (!refine(false)) break;
  }
}

function fitWeighted(groups: usize): void {
  for (let i: usize = 0; i < groups; i++) start(groupAddress(i), true);
  spread();
  for (let round = 0; round < WEIGHTED_ROUNDS; round++) {
    if (!refine(true)) break;
  }
}

@inline
function codes(group: usize, field: usize): v128 {
  return i32x4.trunc_sat_f32x4_s(v128.load(groupAddress(group) + field));
}

function packSixBits(output: usize): void {
  packHeader(
    output, f32ToF16(d), f32ToF16(dmin),
    codes(0, SCALE_CODE), codes(1, SCALE_CODE), codes(0, MIN_CODE), codes(1, MIN_CODE),
  );
}

/** Byte l of pair k holds value l of sub-block 2k low, of sub-block 2k + 1 high. */
function packFourBits(output: usize): void {
  for (let values = VALUES; values < VALUES + 256; values += 64, output += 32) {
    v128.store(output, v128.or(v128.load(values), i16x8.shl(v128.load(values, 32), 4)));
    v128.store(output, v128.or(v128.load(values, 16), i16x8.shl(v128.load(values, 48), 4)), 16);
  }
}

/** The fifth bits first: bit j of byte l is that of value l of sub-block j. Then the others as in Q4_K. */
function packFiveBits(output: usize): void {
  const mask = i8x16.splat(15);
  for (let half: usize = 0; half < 32; half += 16) {
    let fifths = i8x16.splat(0);
    for (let j: usize = 0; j < 8; j++) {
      const fifth = v128.and(v128.load(VALUES + j * 32 + half), i8x16.splat(16));
      fifths = v128.or(i8x16.shr_u(fifths, 1), i8x16.shl(fifth, 3));
    }
    v128.store(output + half, fifths);
    for (let pair: usize = 0; pair < 4; pair++) {
      const values = VALUES + pair * 64 + half;
      const high = i16x8.shl(v128.and(v128.load(values, 32), mask), 4);
      v128.store(output + 32 + pair * 32 + half, v128.or(v128.and(v128.load(values), mask), high));
    }
  }
}

/** Byte l of a half holds its values l, l + 32, l + 64 and l + 96, from the low bits up. */
function packTwoBits(output: usize): void {
  for (let i: usize = 0; i < 4; i++) {
    store<u32>(output + (i << 2), lowBytes(v128.or(codes(i, SCALE_CODE), i32x4.shl(codes(i, MIN_CODE), 4))));
  }
  for (let half: usize = 0; half < 2; half++) {
    for (let part: usize = 0; part < 32; part += 16) {
      const values = VALUES + half * 128 + part;
      const low = v128.or(v128.load(values), i16x8.shl(v128.load(values, 32), 2));
      const high = v128.or(i16x8.shl(v128.load(values, 64), 4), i16x8.shl(v128.load(values, 96), 6));
      v128.store(output + 16 + half * 32 + part, v128.or(low, high));
    }
  }
  store<u16>(output, f32ToF16(d), 80);
  store<u16>(output, f32ToF16(dmin), 82);
}
