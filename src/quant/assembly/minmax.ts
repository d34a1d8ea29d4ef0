/** The fit "minmax": the bytes that `apr quantize` writes. */
import { anyLaneNotFinite, firstNotFinite } from "./finite";
import {
  BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, BLOCK_OUTPUT_BYTES, INPUT, OUTPUT, PARTS, SCALES, SUB_BLOCK_INPUT_BYTES,
} from "./memory";
import { MAX_VALUE } from "./rounding";
import { f32ToF16, maxLaneOrZero, packHeader, packNibbles, storeBytes } from "./pack";

/** T: what the reference takes for a scale that would be no greater. */
const LEAST_SCALE: f32 = 6.1e-5;
const MAX_SCALE: f32 = 63;
/** Below this a decoded scale counts as 0. */
const LEAST_DECODED_SCALE: f32 = 1e-10;
/** The largest f32 below one half: `floor(v + this)` rounds v >= 0 half away from zero, also where v + 0.5 would round up. */
const JUST_BELOW_HALF: f32 = 0.49999997;

/**
 * Where the mins stand in SCALES, behind the scales. Both are first those of the sub-blocks, then what their 6 bits decode
 * to.
 */
const MINS: usize = 32;
/** Where the greatest stand in PARTS, behind the least. */
const GREATEST: usize = 64;

/**
 * Super-blocks that go through each step together: a step is a chain of divisions, and those of different super-blocks
 * overlap. Their values stay in the first-level cache.
 */
const BATCH: i32 = 8;
const SCALES_BYTES: usize = 64;

/** As `search`, by min and max alone. */
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
  let sum = f32x4.splat(0);
  // Through memory: twelve reductions in one expression are more vectors than there are registers.
  for (let part: usize = PARTS; part < PARTS + 64; part += 16, input += SUB_BLOCK_INPUT_BYTES) {
    v128.store(part, leastOf(input));
    v128.store(part, greatestOf(input), GREATEST);
    sum = f32x4.add(sum, sumOf(input));
  }
  const min = leastOfEach(v128.load(PARTS), v128.load(PARTS, 16), v128.load(PARTS, 32), v128.load(PARTS, 48));
  const max = greatestOfEach(v128.load(PARTS, 64), v128.load(PARTS, 80), v128.load(PARTS, 96), v128.load(PARTS, 112));
  const range = f32x4.sub(max, min);
  const least = f32x4.splat(LEAST_SCALE);
  const scale = v128.bitselect(f32x4.div(range, f32x4.splat(MAX_VALUE)), least, f32x4.gt(range, least));
  v128.store(scales, scale);
  v128.store(scales, f32x4.pmax(f32x4.neg(min), f32x4.splat(0)), MINS);
  return sum;
}

/** The least of a sub-block, by lanes: lane n holds the least of values n, n + 4, ... */
@inline
function leastOf(input: usize): v128 {
  const ab = f32x4.pmin(v128.load(input), v128.load(input, 16));
  const cd = f32x4.pmin(v128.load(input, 32), v128.load(input, 48));
  const ef = f32x4.pmin(v128.load(input, 64), v128.load(input, 80));
  const gh = f32x4.pmin(v128.load(input, 96), v128.load(input, 112));
  return f32x4.pmin(f32x4.pmin(ab, cd), f32x4.pmin(ef, gh));
}

@inline
function greatestOf(input: usize): v128 {
  const ab = f32x4.pmax(v128.load(input), v128.load(input, 16));
  const cd = f32x4.pmax(v128.load(input, 32), v128.load(input, 48));
  const ef = f32x4.pmax(v128.load(input, 64), v128.load(input, 80));
  const gh = f32x4.pmax(v128.load(input, 96), v128.load(input, 112));
  return f32x4.pmax(f32x4.pmax(ab, cd), f32x4.pmax(ef, gh));
}

@inline
function sumOf(input: usize): v128 {
  const ab = f32x4.add(v128.load(input), v128.load(input, 16));
  const cd = f32x4.add(v128.load(input, 32), v128.load(input, 48));
  const ef = f32x4.add(v128.load(input, 64), v128.load(input, 80));
  const gh = f32x4.add(v128.load(input, 96), v128.load(input, 112));
  return f32x4.add(f32x4.add(ab, cd), f32x4.add(ef, gh));
}

/** Lane n of the result is the least lane of the n-th vector. */
@inline
function leastOfEach(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmin(i32x4.shuffle(a, b, 0, 4, 1, 5), i32x4.shuffle(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmin(i32x4.shuffle(c, d, 0, 4, 1, 5), i32x4.shuffle(c, d, 2, 6, 3, 7));
  return f32x4.pmin(i64x2.shuffle(ab, cd, 0, 2), i64x2.shuffle(ab, cd, 1, 3));
}

@inline
function greatestOfEach(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmax(i32x4.shuffle(a, b, 0, 4, 1, 5), i32x4.shuffle(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmax(i32x4.shuffle(c, d, 0, 4, 1, 5), i32x4.shuffle(c, d, 2, 6, 3, 7));
  return f32x4.pmax(i64x2.shuffle(ab, cd, 0, 2), i64x2.shuffle(ab, cd, 1, 3));
}

/** d, dmin and the 6-bit scales and mins; leaves what these decode to in the place of the first scales and mins. */
@inline
function writeScales(scales: usize, output: usize): void {
  const d = step(scales);
  const dmin = step(scales + MINS);
  packHeader(
    output, f32ToF16(d), f32ToF16(dmin),
    sixBits(scales, d), sixBits(scales + 16, d), sixBits(scales + MINS, dmin), sixBits(scales + MINS + 16, dmin),
  );
}

/** d or dmin of the 8 scales or mins at `scales`, as f32: the next steps use it before it is rounded to f16. */
@inline
function step(scales: usize): f32 {
  const max = maxLaneOrZero(v128.load(scales), v128.load(scales, 16));
  return max > LEAST_SCALE ? max / MAX_SCALE : LEAST_SCALE;
}

/** `min(63, round(scale / d))` of four scales, which it replaces by `d * ` that. A NaN quotient gives 0, as in the reference. */
@inline
function sixBits(scales: usize, d: f32): v128 {
  const quotient = f32x4.div(v128.load(scales), f32x4.splat(d));
  const rounded = f32x4.floor(f32x4.add(quotient, f32x4.splat(JUST_BELOW_HALF)));
  const six = f32x4.pmin(f32x4.splat(MAX_SCALE), f32x4.pmax(f32x4.splat(0), rounded));
  v128.store(scales, f32x4.mul(f32x4.splat(d), six));
  return i32x4.trunc_sat_f32x4_s(six);
}

/** The 128 bytes of values: byte l of pair k holds value l of sub-block 2k low, of sub-block 2k + 1 high. */
@inline
function writeValues(scales: usize, input: usize, output: usize): void {
  const end = scales + MINS;
  for (; scales < end; scales += 8, input += 2 * SUB_BLOCK_INPUT_BYTES, output += 32) {
    const scaleLow = v128.load32_splat(scales);
    const scaleHigh = v128.load32_splat(scales, 4);
    const minLow = v128.load32_splat(scales, MINS);
    const minHigh = v128.load32_splat(scales, MINS + 4);
    const limitLow = limit(scaleLow);
    const limitHigh = limit(scaleHigh);
    for (let half: usize = 0; half < 2; half++) {
      const values = input + half * 64;
      storeBytes(
        output + half * 16,
        fourBytes(values, scaleLow, minLow, limitLow, scaleHigh, minHigh, limitHigh),
        fourBytes(values + 16, scaleLow, minLow, limitLow, scaleHigh, minHigh, limitHigh),
        fourBytes(values + 32, scaleLow, minLow, limitLow, scaleHigh, minHigh, limitHigh),
        fourBytes(values + 48, scaleLow, minLow, limitLow, scaleHigh, minHigh, limitHigh),
      );
    }
  }
}

/** What values are cut to: 15, or 0 where the scale counts as 0 (or is NaN). */
@inline
function limit(scale: v128): v128 {
  return v128.and(f32x4.splat(MAX_VALUE), f32x4.gt(scale, f32x4.splat(LEAST_DECODED_SCALE)));
}

@inline
function fourBytes(
  values: usize, scaleLow: v128, minLow: v128, limitLow: v128, scaleHigh: v128, minHigh: v128, limitHigh: v128,
): v128 {
  return packNibbles(
    quantize(v128.load(values), scaleLow, minLow, limitLow),
    quantize(v128.load(values, SUB_BLOCK_INPUT_BYTES), scaleHigh, minHigh, limitHigh),
  );
}

/** Cut before it is floored: `pmax` in this order takes NaN to 0, and a quotient below 0 rounds to 0 at most. */
@inline
function quantize(x: v128, scale: v128, min: v128, limit: v128): v128 {
  const quotient = f32x4.div(f32x4.add(x, min), scale);
  const above = f32x4.add(quotient, f32x4.splat(JUST_BELOW_HALF));
  return f32x4.floor(f32x4.pmin(limit, f32x4.pmax(f32x4.splat(0), above)));
}
