/** Q4_1 and Q5_1: scale and min, from the least and the greatest value. With importance they are searched for. */
import { q4_1Weighted, q5_1Weighted } from "../affine/blocks32";
import { INPUT, OUTPUT, SUB_BLOCK_INPUT_BYTES } from "../memory";
import { bytesOf, lowByte, storeFiveBits, storeNibbles } from "./codes";
import { BATCH, findScales, HALVES, INVERSES, MIN_HALVES, MINS, RANGE_BY_15, RANGE_BY_31 } from "./scales";

const Q4_1_BYTES: usize = 20;
const Q5_1_BYTES: usize = 24;

export function q4_1(blocks: i32, isWeighted: bool): i32 {
  if (isWeighted) return q4_1Weighted(blocks);
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = findScales(first, count, RANGE_BY_15);
    if (bad >= 0) return bad;
    let input = INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES;
    let output = OUTPUT + <usize>first * Q4_1_BYTES;
    for (let place: usize = 0; place < 4 * <usize>count; place += 4) {
      const inverse = v128.load32_splat(place, INVERSES);
      const base = v128.load32_splat(place, MINS);
      store<u32>(output, load<u32>(place, HALVES) | (load<u32>(place, MIN_HALVES) << 16));
      storeNibbles(output + 4, codes(input, base, inverse), codes(input + 64, base, inverse));
      input += SUB_BLOCK_INPUT_BYTES;
      output += Q4_1_BYTES;
    }
  }
  return -1;
}

export function q5_1(blocks: i32, isWeighted: bool): i32 {
  if (isWeighted) return q5_1Weighted(blocks);
  for (let first = 0; first < blocks; first += BATCH) {
    const count = min(BATCH, blocks - first);
    const bad = findScales(first, count, RANGE_BY_31);
    if (bad >= 0) return bad;
    let input = INPUT + <usize>first * SUB_BLOCK_INPUT_BYTES;
    let output = OUTPUT + <usize>first * Q5_1_BYTES;
    for (let place: usize = 0; place < 4 * <usize>count; place += 4) {
      const inverse = v128.load32_splat(place, INVERSES);
      const base = v128.load32_splat(place, MINS);
      store<u32>(output, load<u32>(place, HALVES) | (load<u32>(place, MIN_HALVES) << 16));
      storeFiveBits(output + 4, codes(input, base, inverse), codes(input + 64, base, inverse));
      input += SUB_BLOCK_INPUT_BYTES;
      output += Q5_1_BYTES;
    }
  }
  return -1;
}

/** 16 codes: `(x - base) * inverse` rounded, halves up. None is out of range. */
@inline
function codes(values: usize, base: v128, inverse: v128): v128 {
  return bytesOf(
    code(v128.load(values), base, inverse),
    code(v128.load(values, 16), base, inverse),
    code(v128.load(values, 32), base, inverse),
    code(v128.load(values, 48), base, inverse),
  );
}

@inline
function code(x: v128, base: v128, inverse: v128): v128 {
  return lowByte(f32x4.floor(f32x4.add(f32x4.mul(f32x4.sub(x, base), inverse), f32x4.splat(0.5))));
}
