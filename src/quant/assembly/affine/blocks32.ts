/** Q4_1 and Q5_1 with importance: the search's own scale, min and values are a block. */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { IMPORTANCE, INPUT, OUTPUT, ROW_MEAN_SQUARES } from "../memory";
import { f32ToF16 } from "../pack";
import { setWeightedCandidates, tryCandidates } from "./candidates";
import { storeClamps } from "./clamp";
import { BY_IMPORTANCE, MIN, SCALE, groupAddress, prepare, setSubBlock } from "./group";
import { searchLevels } from "./levels";

const BLOCK_ELEMENTS: i32 = 32;
const BLOCK_INPUT_BYTES: usize = 128;
const Q4_1_BYTES: usize = 20;
const Q5_1_BYTES: usize = 24;
/** Blocks fitted at a time: four groups of four. */
const BATCH: i32 = 16;

/**
 * Fits the first `blocks` blocks of INPUT into OUTPUT with importance: the bytes of llama.cpp. Returns -1, or the index of
 * the first element that is NaN or infinite; OUTPUT is then undefined.
 */
export function q4_1Weighted(blocks: i32): i32 {
  storeClamps(15);
  setWeightedCandidates(15);
  return fitBlocks(blocks, Q4_1_BYTES);
}

/** The same for Q5_1. */
export function q5_1Weighted(blocks: i32): i32 {
  storeClamps(31);
  setWeightedCandidates(31);
  return fitBlocks(blocks, Q5_1_BYTES);
}

function fitBlocks(blocks: i32, blockBytes: usize): i32 {
  setSubBlock(BLOCK_ELEMENTS);
  for (let block = 0; block < blocks; block += BATCH) {
    const present = min(BATCH, blocks - block);
    // Groups are whole: behind the last block they take in what stands there, which goes nowhere.
    let sums = f32x4.splat(0);
    for (let i: usize = 0; i < 4; i++) {
      const first = <usize>block + i * 4;
      const place = first * BLOCK_INPUT_BYTES;
      const meanSquares = v128.load(ROW_MEAN_SQUARES + (first << 2));
      sums = f32x4.add(sums, prepare(groupAddress(i), INPUT + place, BY_IMPORTANCE, IMPORTANCE + place, meanSquares));
    }
    if (anyLaneNotFinite(sums)) {
      const first = firstNotFinite(INPUT + <usize>block * BLOCK_INPUT_BYTES, present * BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    tryCandidates(0, false);
    for (let i = 0; i < present; i++) {
      const at = <usize>(block + i);
      writeBlock(<usize>i, INPUT + at * BLOCK_INPUT_BYTES, OUTPUT + at * blockBytes, blockBytes == Q5_1_BYTES);
    }
  }
  return -1;
}

/** The block of lane `index` of the groups. */
@inline
function writeBlock(index: usize, input: usize, output: usize, hasFifthBits: bool): void {
  const lane = groupAddress(index >> 2) + ((index & 3) << 2);
  store<u16>(output, f32ToF16(load<f32>(lane, SCALE)));
  store<u16>(output, f32ToF16(load<f32>(lane, MIN)), 2);
  let low = searchLevels(input, index, 0);
  let high = searchLevels(input + 64, index, 0);
  if (hasFifthBits) {
    // A value's bit 4 becomes its byte's highest.
    store<u32>(output, i8x16.bitmask(i16x8.shl(low, 3)) | (i8x16.bitmask(i16x8.shl(high, 3)) << 16), 4);
    low = v128.and(low, i8x16.splat(15));
    high = v128.and(high, i8x16.splat(15));
  }
  v128.store(output + (hasFifthBits ? 8 : 4), v128.or(low, i16x8.shl(high, 4)));
}
