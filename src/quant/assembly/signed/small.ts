/** Q4_0 and Q5_0 with importance: one lane a block of 32, and the codes of the search are those that are stored. */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { IMPORTANCE, INPUT, OUTPUT, ROW_MEAN_SQUARES, SUB_BLOCK_ELEMENTS, SUB_BLOCK_INPUT_BYTES } from "../memory";
import { f32ToF16 } from "../pack";
import { bytesOf, storeFiveBits, storeNibbles } from "../small/codes";
import { EMPTY, INVERSE, SCALE, WEIGHT, groupAddress, loadValues, transpose } from "./group";
import { ImportanceAndSize, storeConstants, sumCandidates, takeBest } from "./search";
import { codeOfAny } from "./values";

const Q4_0_BYTES: usize = 18;
const Q5_0_BYTES: usize = 22;

/** Two groups of four blocks at a time. Behind the last block they hold what nobody reads. */
const BATCH: i32 = 8;
const ELEMENTS: usize = <usize>SUB_BLOCK_ELEMENTS;

export function q4_0Weighted(blocks: i32): i32 {
  storeConstants(8);
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = search(first, count, 8);
    if (bad >= 0) return bad;
    for (let block = 0; block < count; block++) {
      const output = OUTPUT + <usize>(first + block) * Q4_0_BYTES;
      const input = INPUT + <usize>(first + block) * SUB_BLOCK_INPUT_BYTES;
      storeScale(output, block);
      storeNibbles(output + 2, codes(input, block, 8), codes(input + 64, block, 8));
    }
  }
  return -1;
}

export function q5_0Weighted(blocks: i32): i32 {
  storeConstants(16);
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = search(first, count, 16);
    if (bad >= 0) return bad;
    for (let block = 0; block < count; block++) {
      const output = OUTPUT + <usize>(first + block) * Q5_0_BYTES;
      const input = INPUT + <usize>(first + block) * SUB_BLOCK_INPUT_BYTES;
      storeScale(output, block);
      storeFiveBits(output + 2, codes(input, block, 16), codes(input + 64, block, 16));
    }
  }
  return -1;
}

/** Fits a batch. Returns the index of the first element that is NaN or infinite, or -1. */
function search(first: i32, count: i32, zero: f32): i32 {
  const sums = f32x4.add(sumGroup(0, first, zero), sumGroup(1, first + 4, zero));
  if (anyLaneNotFinite(sums)) {
    const bad = firstNotFinite(INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES, count * SUB_BLOCK_ELEMENTS);
    if (bad >= 0) return first * SUB_BLOCK_ELEMENTS + bad;
  }
  takeBest(groupAddress(0), groupAddress(1));
  return -1;
}

function sumGroup(index: usize, block: i32, zero: f32): v128 {
  const group = groupAddress(index);
  loadValues(group, INPUT + <usize>block * SUB_BLOCK_INPUT_BYTES, ELEMENTS);
  transpose(group, WEIGHT, IMPORTANCE + <usize>block * SUB_BLOCK_INPUT_BYTES, ELEMENTS);
  const meanSquares = v128.load(ROW_MEAN_SQUARES + (<usize>block << 2));
  return sumCandidates<ImportanceAndSize>(group, ELEMENTS, zero, meanSquares);
}

/** The address of a block's lane in the fields of its group. */
@inline
function lane(block: i32): usize {
  return groupAddress(<usize>block >> 2) + ((<usize>block & 3) << 2);
}

@inline
function storeScale(output: usize, block: i32): void {
  store<u16>(output, f32ToF16(load<f32>(lane(block), SCALE)));
}

/** 16 codes. */
@inline
function codes(values: usize, block: i32, zero: i32): v128 {
  const inverse = v128.load32_splat(lane(block), INVERSE);
  const bytes = bytesOf(
    codeOfAny(f32x4.mul(inverse, v128.load(values)), zero),
    codeOfAny(f32x4.mul(inverse, v128.load(values, 16)), zero),
    codeOfAny(f32x4.mul(inverse, v128.load(values, 32)), zero),
    codeOfAny(f32x4.mul(inverse, v128.load(values, 48)), zero),
  );
  return v128.andnot(bytes, v128.load32_splat(lane(block), EMPTY));
}
