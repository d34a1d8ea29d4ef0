/** Q6_K: four groups of four sub-blocks of 16 make a super-block. */
import { anyLaneNotFinite, firstNotFinite } from "../finite";
import { BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, IMPORTANCE, INPUT, OUTPUT } from "../memory";
import { f32ToF16 } from "../pack";
import { roundBits } from "../rounding";
import { f16ToF32 } from "../widen";
import { CODES, LEAST_MAGNITUDE, SCALES, WEIGHT, groupAddress, loadValues, transpose } from "./group";
import { Importance, Squares, storeConstants, sumCandidates, takeBest } from "./search";
import { chooseCodes, gatherScales, keepSearched, someStepIsZero, storeSteps } from "./values";

const BLOCK_BYTES: usize = 210;
const HIGH_OFFSET: usize = 128;
const SCALES_OFFSET: usize = 192;
const SCALE_OFFSET: usize = 208;

const SUB_BLOCK: usize = 16;
const ZERO = 32;
const MOST_SCALE: i32 = 127;

/**
 * Fits the first `blocks` super-blocks of INPUT into OUTPUT, weighted by IMPORTANCE or by the values' squares. Returns -1,
 * or the index of the first element that is NaN or infinite; OUTPUT is then undefined.
 */
export function q6k(blocks: i32, isWeighted: bool): i32 {
  storeConstants(<f32>ZERO);
  for (let block = 0; block < blocks; block++) {
    const input = INPUT + <usize>block * BLOCK_INPUT_BYTES;
    const importance = IMPORTANCE + <usize>block * BLOCK_INPUT_BYTES;
    let sums = f32x4.splat(0);
    for (let index: usize = 0; index < 4; index++) {
      sums = f32x4.add(sums, sumGroup(groupAddress(index), input + (index << 8), importance + (index << 8), isWeighted));
    }
    if (anyLaneNotFinite(sums)) {
      const first = firstNotFinite(input, BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    takeBest(groupAddress(0), groupAddress(1));
    takeBest(groupAddress(2), groupAddress(3));
    writeBlock(input, OUTPUT + <usize>block * BLOCK_BYTES);
  }
  return -1;
}

function sumGroup(group: usize, input: usize, importance: usize, isWeighted: bool): v128 {
  loadValues(group, input, SUB_BLOCK);
  if (!isWeighted) return sumCandidates<Squares>(group, SUB_BLOCK, <f32>ZERO, f32x4.splat(0));
  transpose(group, WEIGHT, importance, SUB_BLOCK);
  return sumCandidates<Importance>(group, SUB_BLOCK, <f32>ZERO, f32x4.splat(0));
}

function writeBlock(input: usize, output: usize): void {
  const maxScale = gatherScales();
  if (abs(maxScale) < LEAST_MAGNITUDE) {
    memory.fill(output, 0, BLOCK_BYTES);
    return;
  }
  const inverse: f32 = <f32>-128 / maxScale;
  const d = f32ToF16(<f32>1 / inverse);
  store<u16>(output, d, SCALE_OFFSET);
  const scales = scaleBytes(inverse);
  v128.store(output, scales, SCALES_OFFSET);

  storeSteps(f16ToF32(d), scales);
  chooseCodes(input, ZERO);
  if (someStepIsZero()) keepSearched(ZERO);
  packCodes6(output, CODES);
}

/** The low bytes of `min(127, round(inverse * scale))`. */
@inline
function scaleBytes(inverse: f32): v128 {
  return i8x16.narrow_i16x8_u(
    i16x8.narrow_i32x4_s(scaleByte(inverse, SCALES), scaleByte(inverse, SCALES + 16)),
    i16x8.narrow_i32x4_s(scaleByte(inverse, SCALES + 32), scaleByte(inverse, SCALES + 48)),
  );
}

@inline
function scaleByte(inverse: f32, scales: usize): v128 {
  const rounded = roundBits(f32x4.mul(f32x4.splat(inverse), v128.load(scales)));
  return v128.and(i32x4.min_s(rounded, i32x4.splat(MOST_SCALE)), i32x4.splat(255));
}

/** Two halves of 128 values; in each, runs of 32 share bytes: two a byte of low bits, four a byte of high ones. */
@inline
export function packCodes6(output: usize, values: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    for (let part: usize = 0; part < 32; part += 16) {
      const codes = values + (half << 7) + part;
      const a = v128.load(codes);
      const b = v128.load(codes, 32);
      const c = v128.load(codes, 64);
      const d = v128.load(codes, 96);
      const lowBits = i8x16.splat(15);
      const low = output + (half << 6) + part;
      v128.store(low, v128.or(v128.and(a, lowBits), i16x8.shl(v128.and(c, lowBits), 4)));
      v128.store(low, v128.or(v128.and(b, lowBits), i16x8.shl(v128.and(d, lowBits), 4)), 32);
      // Codes are below 64: what a shift by lanes of 16 bits moves between bytes is masked away.
      const highBits = i8x16.splat(0x30);
      const ab = v128.or(i16x8.shr_u(v128.and(a, highBits), 4), i16x8.shr_u(v128.and(b, highBits), 2));
      const cd = v128.or(v128.and(c, highBits), i16x8.shl(v128.and(d, highBits), 2));
      v128.store(output + (half << 5) + part, v128.or(ab, cd), HIGH_OFFSET);
    }
  }
}
