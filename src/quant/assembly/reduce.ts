/** The least and the greatest of four times 32 values, which stand one after the other. */
import { PARTS, SUB_BLOCK_INPUT_BYTES } from "./memory";

/** Where the greatest stand in PARTS, behind the least. */
const GREATEST: usize = 64;

/** Leaves at PARTS what the two functions behind it read. Returns a sum over the values, which is finite only if all are. */
@inline
export function reduceFour(input: usize): v128 {
  let sum = f32x4.splat(0);
  // Through memory: four of these in one expression are more vectors than there are registers.
  for (let part: usize = PARTS; part < PARTS + 64; part += 16, input += SUB_BLOCK_INPUT_BYTES) {
    sum = f32x4.add(sum, reduce(input, part));
  }
  return sum;
}

/** Lane n is the least of the n-th 32 values. */
@inline
export function leastOfFour(): v128 {
  return leastOfEach(v128.load(PARTS), v128.load(PARTS, 16), v128.load(PARTS, 32), v128.load(PARTS, 48));
}

/** Lane n is the greatest of the n-th 32 values. */
@inline
export function greatestOfFour(): v128 {
  return greatestOfEach(v128.load(PARTS, 64), v128.load(PARTS, 80), v128.load(PARTS, 96), v128.load(PARTS, 112));
}

/**
 * Stores the least and the greatest of 32 values at `part` and returns its sum, each by lanes: lane n of it is over the
 * values n, n + 4, ...
 */
@inline
function reduce(input: usize, part: usize): v128 {
  const a = v128.load(input);
  const b = v128.load(input, 16);
  const c = v128.load(input, 32);
  const d = v128.load(input, 48);
  const e = v128.load(input, 64);
  const f = v128.load(input, 80);
  const g = v128.load(input, 96);
  const h = v128.load(input, 112);
  const leastAD = f32x4.pmin(f32x4.pmin(a, b), f32x4.pmin(c, d));
  const leastEH = f32x4.pmin(f32x4.pmin(e, f), f32x4.pmin(g, h));
  v128.store(part, f32x4.pmin(leastAD, leastEH));
  const greatestAD = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
  const greatestEH = f32x4.pmax(f32x4.pmax(e, f), f32x4.pmax(g, h));
  v128.store(part, f32x4.pmax(greatestAD, greatestEH), GREATEST);
  const sumAD = f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
  const sumEH = f32x4.add(f32x4.add(e, f), f32x4.add(g, h));
  return f32x4.add(sumAD, sumEH);
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
