/**
 * The fit "minmax": the bytes that `apr quantize` writes. This file finds the scales and mins; `minmax-values.ts` then
 * quantizes the values with them.
 */
import { anyLaneNotFinite, firstNotFinite } from "./finite";
import {
  BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, BLOCK_OUTPUT_BYTES, INPUT, OUTPUT, SCALES, SUB_BLOCK_INPUT_BYTES,
} from "./memory";
import { INVERSES, LIMITS, MINS, SCALES_BYTES, writeValues } from "./minmax-values";
import { f32ToF16, maxLaneOrZero, packHeader } from "./pack";
import { greatestOfFour, leastOfFour, reduceFour } from "./reduce";
import { JUST_BELOW_HALF } from "./rounding";

/** The largest value of 4 bits. */
const MAX_VALUE: f32 = 15;
/** T: what the reference takes for a scale that would be no greater. */
const LEAST_SCALE: f32 = 6.1e-5;
const MAX_SCALE: f32 = 63;
/** Up to this a decoded scale counts as 0. */
const LEAST_DECODED_SCALE: f32 = 1e-10;
/**
 * Super-blocks that go through each step together: a step is a chain of divisions, and those of different super-blocks
 * overlap. Their values stay in the first-level cache. SCALES holds as many.
 */
const BATCH: i32 = 8;

/** The same contract as `search`, fitted by min and max alone. */
export function minmax(blocks: i32): i32 {
  for (let block = 0; block < blocks; block += BATCH) {
    const count = min(BATCH, blocks - block);
    const input = INPUT + <usize>block * BLOCK_INPUT_BYTES;
    const output = OUTPUT + <usize>block * BLOCK_OUTPUT_BYTES;
    if (anyLaneNotFinite(fitBlocks(input, count))) {
      const first = firstNotFinite(input, count * BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    for (let i: usize = 0; i < <usize>count; i++) writeScales(SCALES + i * SCALES_BYTES, output + i * BLOCK_OUTPUT_BYTES);
    for (let i: usize = 0; i < <usize>count; i++) {
      writeValues(SCALES + i * SCALES_BYTES, input + i * BLOCK_INPUT_BYTES, output + i * BLOCK_OUTPUT_BYTES + 16);
    }
  }
  return -1;
}

/** Scales and mins of `count` super-blocks. Returns a sum over their values. */
@inline
function fitBlocks(input: usize, count: i32): v128 {
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < <usize>count; i++) {
    const block = input + i * BLOCK_INPUT_BYTES;
    const scales = SCALES + i * SCALES_BYTES;
    sum = f32x4.add(sum, fitFour(block, scales));
    sum = f32x4.add(sum, fitFour(block + 4 * SUB_BLOCK_INPUT_BYTES, scales + 16));
  }
  return sum;
}

/** Scale and min of four sub-blocks, stored at `scales`. Returns a sum over their values. */
@inline
function fitFour(input: usize, scales: usize): v128 {
  const sum = reduceFour(input);
  const min = leastOfFour();
  const max = greatestOfFour();
  const range = f32x4.sub(max, min);
  const least = f32x4.splat(LEAST_SCALE);
  const scale = v128.bitselect(f32x4.div(range, f32x4.splat(MAX_VALUE)), least, f32x4.gt(range, least));
  v128.store(scales, scale);
  v128.store(scales, f32x4.pmax(f32x4.neg(min), f32x4.splat(0)), MINS);
  return sum;
}

/** d, dmin and the 6-bit scales and mins; leaves at `scales` what `writeValues` needs. */
@inline
function writeScales(scales: usize, output: usize): void {
  const d = step(scales);
  const dmin = step(scales + MINS);
  packHeader(
    output, f32ToF16(d), f32ToF16(dmin),
    sixBits(scales, d), sixBits(scales + 16, d), sixBits(scales + MINS, dmin), sixBits(scales + MINS + 16, dmin),
  );
  invert(scales);
  invert(scales + 16);
}

/** d or dmin of the 8 scales or mins at `scales`, as f32: the next steps use it before it is rounded to f16. */
@inline
function step(scales: usize): f32 {
  const max = maxLaneOrZero(v128.load(scales), v128.load(scales, 16));
  return max > LEAST_SCALE ? max / MAX_SCALE : LEAST_SCALE;
}

/** `min(63, round(scale / d))` of four scales; `d * ` that replaces them. A NaN quotient gives 0, as in the reference. */
@inline
function sixBits(scales: usize, d: f32): v128 {
  const quotient = f32x4.div(v128.load(scales), f32x4.splat(d));
  const rounded = f32x4.floor(f32x4.add(quotient, f32x4.splat(JUST_BELOW_HALF)));
  const six = f32x4.pmin(f32x4.splat(MAX_SCALE), f32x4.pmax(f32x4.splat(0), rounded));
  v128.store(scales, f32x4.mul(f32x4.splat(d), six));
  return i32x4.trunc_sat_f32x4_s(six);
}

/** INVERSES and LIMITS of four decoded scales. A NaN scale counts as 0 too. */
@inline
function invert(scales: usize): void {
  const scale = v128.load(scales);
  const counts = f32x4.gt(scale, f32x4.splat(LEAST_DECODED_SCALE));
  v128.store(scales, v128.and(f32x4.div(f32x4.splat(1), scale), counts), INVERSES);
  v128.store(scales, v128.and(i8x16.splat(<i8>MAX_VALUE), counts), LIMITS);
}
