/** The fit "search": the bytes that llama.cpp writes for Q4_K without an importance matrix. */
import { tryCandidates } from "./candidates";
import { anyLaneNotFinite, firstNotFinite } from "./finite";
import { BEST_BASE, BEST_INVERSE, MIN, SCALE, X_MAX, X_MIN, groupAddress, prepare } from "./group";
import {
  BLOCK_ELEMENTS, BLOCK_INPUT_BYTES, BLOCK_OUTPUT_BYTES, CLAMPS, DECODED, INPUT, OUTPUT, SUB_BLOCK_ELEMENTS,
  SUB_BLOCK_INPUT_BYTES,
} from "./memory";
import { f32ToF16, maxLaneOrZero, packHeader, packNibbles, storeBytes } from "./pack";
import { CLAMP_MOST, nearestHolds, roundAndClamp, roundAnyAndClamp, roundBits, storeClamps } from "./rounding";
import { f16ToF32 } from "./widen";

/** The greatest 6-bit scale. */
const MAX_SCALE: f32 = 63;

/** Where the mins stand in DECODED, behind the scales. */
const DECODED_MINS: usize = 32;

/**
 * Fits the first `blocks` super-blocks of INPUT into OUTPUT. Returns -1, or the index of the first element that is NaN or
 * infinite; OUTPUT is then undefined.
 */
export function q4k(blocks: i32, isWeighted: bool): i32 {
  storeClamps();
  for (let block = 0; block < blocks; block += 2) {
    // Two super-blocks at a time. The last of an odd number is fitted beside itself.
    const second = block + 1 < blocks ? block + 1 : block;
    const inputA = blockInput(block);
    const inputB = blockInput(second);
    const sumsA = f32x4.add(prepare(groupAddress(0), inputA), prepare(groupAddress(1), inputA + BLOCK_INPUT_BYTES / 2));
    const sumsB = f32x4.add(prepare(groupAddress(2), inputB), prepare(groupAddress(3), inputB + BLOCK_INPUT_BYTES / 2));
    if (anyLaneNotFinite(f32x4.add(sumsA, sumsB))) {
      const first = firstNotFinite(inputA, (second - block + 1) * BLOCK_ELEMENTS);
      if (first >= 0) return block * BLOCK_ELEMENTS + first;
    }
    tryCandidates();
    writeBlock(groupAddress(0), groupAddress(1), inputA, blockOutput(block));
    writeBlock(groupAddress(2), groupAddress(3), inputB, blockOutput(second));
  }
  return -1;
}

@inline
function blockInput(block: i32): usize {
  return INPUT + <usize>block * BLOCK_INPUT_BYTES;
}

@inline
function blockOutput(block: i32): usize {
  return OUTPUT + <usize>block * BLOCK_OUTPUT_BYTES;
}

/** Step 5: quantizes the scales and mins of two fitted groups, then every value with what those decode to. */
function writeBlock(low: usize, high: usize, input: usize, output: usize): void {
  const scalesLow = v128.load(low, SCALE);
  const scalesHigh = v128.load(high, SCALE);
  const minsLow = f32x4.neg(v128.load(low, MIN));
  const minsHigh = f32x4.neg(v128.load(high, MIN));
  const maxScale = maxLaneOrZero(scalesLow, scalesHigh);
  const maxMin = maxLaneOrZero(minsLow, minsHigh);
  const d = f32ToF16(maxScale / MAX_SCALE);
  const dmin = f32ToF16(maxMin / MAX_SCALE);

  const inverseScale: f32 = maxScale > 0 ? MAX_SCALE / maxScale : 0;
  const inverseMin: f32 = maxMin > 0 ? MAX_SCALE / maxMin : 0;
  const scales6Low = sixBits(inverseScale, scalesLow);
  const scales6High = sixBits(inverseScale, scalesHigh);
  const mins6Low = sixBits(inverseMin, minsLow);
  const mins6High = sixBits(inverseMin, minsHigh);
  packHeader(output, d, dmin, scales6Low, scales6High, mins6Low, mins6High);

  const decodedD = f32x4.splat(f16ToF32(d));
  const decodedDmin = f32x4.splat(f16ToF32(dmin));
  const lowIsPlain = decode(low, DECODED, decodedD, scales6Low, decodedDmin, mins6Low);
  const highIsPlain = decode(high, DECODED + 16, decodedD, scales6High, decodedDmin, mins6High);
  if (lowIsPlain && highIsPlain) writePlainValues(input, output + 16);
  else writeAnyValues(low, high, input, output + 16);
}

/** `min(63, round(inverse * scale) & 255)`: a scale's low byte is kept before it is compared, as the reference does. */
@inline
function sixBits(inverse: f32, scales: v128): v128 {
  const bytes = v128.and(roundBits(f32x4.mul(f32x4.splat(inverse), scales)), i32x4.splat(255));
  return i32x4.min_u(bytes, i32x4.splat(<i32>MAX_SCALE));
}

/**
 * Stores four decoded scales and mins at `decoded`. Returns whether `roundAndClamp` may choose the values with them: no
 * scale is 0 and no quotient is out of its range.
 */
@inline
function decode(group: usize, decoded: usize, d: v128, scales6: v128, dmin: v128, mins6: v128): bool {
  const scale = f32x4.mul(d, f32x4.convert_i32x4_s(scales6));
  const min = f32x4.mul(dmin, f32x4.convert_i32x4_s(mins6));
  v128.store(decoded, scale);
  v128.store(decoded, min, DECODED_MINS);
  // A scale of 0 makes these infinite or NaN.
  const low = f32x4.div(f32x4.add(v128.load(group, X_MIN), min), scale);
  const high = f32x4.div(f32x4.add(v128.load(group, X_MAX), min), scale);
  return nearestHolds(low, high);
}

/** The 128 bytes of values: byte l of pair k holds value l of sub-block 2k low, of sub-block 2k + 1 high. */
@inline
function writePlainValues(input: usize, output: usize): void {
  const decodedEnd = DECODED + DECODED_MINS;
  for (let decoded = DECODED; decoded < decodedEnd; decoded += 8, input += 2 * SUB_BLOCK_INPUT_BYTES, output += 32) {
    const scaleLow = v128.load32_splat(decoded);
    const scaleHigh = v128.load32_splat(decoded, 4);
    const minLow = v128.load32_splat(decoded, DECODED_MINS);
    const minHigh = v128.load32_splat(decoded, DECODED_MINS + 4);
    for (let half: usize = 0; half < 2; half++) {
      const values = input + half * 64;
      storeBytes(
        output + half * 16,
        fourBytes(values, scaleLow, minLow, scaleHigh, minHigh),
        fourBytes(values + 16, scaleLow, minLow, scaleHigh, minHigh),
        fourBytes(values + 32, scaleLow, minLow, scaleHigh, minHigh),
        fourBytes(values + 48, scaleLow, minLow, scaleHigh, minHigh),
      );
    }
  }
}

@inline
function fourBytes(values: usize, scaleLow: v128, minLow: v128, scaleHigh: v128, minHigh: v128): v128 {
  const low = f32x4.div(f32x4.add(v128.load(values), minLow), scaleLow);
  const high = f32x4.div(f32x4.add(v128.load(values, SUB_BLOCK_INPUT_BYTES), minHigh), scaleHigh);
  const zero = v128.load(CLAMPS);
  const most = v128.load(CLAMPS, CLAMP_MOST);
  return packNibbles(roundAndClamp(low, zero, most), roundAndClamp(high, zero, most));
}

/** The same for every input, one value at a time. Where the decoded scale is 0, the values of the search stay. */
function writeAnyValues(low: usize, high: usize, input: usize, output: usize): void {
  memory.fill(output, 0, 128);
  for (let subBlock = 0; subBlock < 8; subBlock++) {
    const lane = (<usize>subBlock & 3) << 2;
    const group = subBlock < 4 ? low : high;
    const scale = load<f32>(DECODED + (<usize>subBlock << 2));
    const min = load<f32>(DECODED + DECODED_MINS + (<usize>subBlock << 2));
    const inverse = load<f32>(group + lane, BEST_INVERSE);
    const base = load<f32>(group + lane, BEST_BASE);
    const bytes = output + (<usize>(subBlock >> 1) << 5);
    const shift = (subBlock & 1) << 2;
    for (let element = 0; element < SUB_BLOCK_ELEMENTS; element++) {
      const x = load<f32>(input + (<usize>subBlock * SUB_BLOCK_INPUT_BYTES) + (<usize>element << 2));
      const v: f32 = scale != 0 ? (x + min) / scale : inverse * (x - base);
      const q = <u32>f32x4.extract_lane(roundAnyAndClamp(f32x4.splat(v)), 0);
      store<u8>(bytes + <usize>element, load<u8>(bytes + <usize>element) | (q << shift));
    }
  }
}
