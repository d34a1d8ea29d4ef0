/**
 * A group: four sub-blocks (or blocks of 32) of a signed type fitted at once, one to a lane, so that each lane keeps the
 * scalar order of operations. This file lays a group out in scratch memory and finds what every fit starts from.
 */
import { SCRATCH } from "../memory";

// One vector each:
/** The first x of the largest magnitude; 1 in EMPTY lanes, so that it can divide. */
export const TOP: usize = 0;
/** Lanes without a magnitude to speak of: their scale and all their codes are 0. */
export const EMPTY: usize = 16;
/** The x that is farthest from TOP: of the other sign, if there are such. */
export const OPPOSITE: usize = 32;
/** The fit: its scale, and what its codes came from: `round(INVERSE * x)`. */
export const SCALE: usize = 48;
export const INVERSE: usize = 64;
/** sum(w), where weights are made of importance and size. */
export const SUM_W: usize = 80;

/** The candidates of the search: what their codes come from, sum(w * x * q) and sum(w * q * q). */
export const CANDIDATES: usize = 128;
export const TRY_INVERSE: usize = 0;
export const SUM_XQ: usize = 16;
export const SUM_QQ: usize = 32;
export const CANDIDATE_BYTES: usize = 48;
export const CANDIDATE_COUNT: i32 = 19;

/** The elements, behind them. An element: its value, its weight, their product, its code counted from 0. */
export const ELEMENTS: usize = CANDIDATES + 960;
export const X: usize = 0;
export const WEIGHT: usize = 16;
export const WEIGHTED: usize = 32;
export const CODE: usize = 48;
export const ELEMENT_BYTES: usize = 64;

/** A group of blocks of 32 is the largest. */
const GROUP_BYTES: usize = ELEMENTS + 32 * ELEMENT_BYTES;

/** Behind four groups: 16 scales, what they decode to, and 256 codes, all in the order of the sub-blocks. */
export const SCALES: usize = SCRATCH + 4 * GROUP_BYTES;
export const STEPS: usize = SCALES + 64;
export const CODES: usize = STEPS + 64;
/** Vectors of a type's own constants: see `search.ts`. */
export const CONSTANTS: usize = CODES + 256;
/** Room for what one type needs beside. */
export const REST: usize = CONSTANTS + 512;

/** Below this, values count as 0. */
export const LEAST_MAGNITUDE: f32 = 1e-15;

/** Address of group 0 .. 3. */
@inline
export function groupAddress(index: usize): usize {
  return SCRATCH + index * GROUP_BYTES;
}

/** Copies four runs of `elements` values, one behind the other, so that element e of all four is one vector, at `field`. */
@inline
export function transpose(group: usize, field: usize, input: usize, elements: usize): void {
  const stride = elements << 2;
  const end = input + stride;
  let target = group + ELEMENTS + field;
  for (; input < end; input += 16, target += 4 * ELEMENT_BYTES) {
    const a = v128.load(input);
    const b = v128.load(input + stride);
    const c = v128.load(input + 2 * stride);
    const d = v128.load(input + 3 * stride);
    const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
    const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
    const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
    const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
    v128.store(target, i64x2.shuffle(ab01, cd01, 0, 2));
    v128.store(target, i64x2.shuffle(ab01, cd01, 1, 3), ELEMENT_BYTES);
    v128.store(target, i64x2.shuffle(ab23, cd23, 0, 2), 2 * ELEMENT_BYTES);
    v128.store(target, i64x2.shuffle(ab23, cd23, 1, 3), 3 * ELEMENT_BYTES);
  }
}

/** Lays out the values of a group, and finds TOP. */
@inline
export function loadValues(group: usize, input: usize, elements: usize): void {
  transpose(group, X, input, elements);
  const first = group + ELEMENTS;
  const end = first + elements * ELEMENT_BYTES;
  let min = v128.load(first, X);
  let max = min;
  for (let element = first; element < end; element += 4 * ELEMENT_BYTES) {
    const a = v128.load(element, X);
    const b = v128.load(element, X + ELEMENT_BYTES);
    const c = v128.load(element, X + 2 * ELEMENT_BYTES);
    const d = v128.load(element, X + 3 * ELEMENT_BYTES);
    min = f32x4.pmin(f32x4.pmin(min, f32x4.pmin(a, b)), f32x4.pmin(c, d));
    max = f32x4.pmax(f32x4.pmax(max, f32x4.pmax(a, b)), f32x4.pmax(c, d));
  }
  const negated = f32x4.neg(min);
  const magnitude = f32x4.pmax(max, negated);
  const isMax = f32x4.gt(max, negated);
  const isTie = f32x4.eq(max, negated);
  let top = v128.bitselect(max, min, isMax);
  let opposite = v128.bitselect(min, max, isMax);
  // Of two opposite values the first counts. Zeros look like such.
  if (v128.any_true(isTie)) {
    for (let element = end - ELEMENT_BYTES; element >= first; element -= ELEMENT_BYTES) {
      const x = v128.load(element, X);
      top = v128.bitselect(x, top, f32x4.eq(f32x4.abs(x), magnitude));
    }
    opposite = v128.bitselect(f32x4.neg(top), opposite, isTie);
  }
  const empty = f32x4.lt(magnitude, f32x4.splat(LEAST_MAGNITUDE));
  v128.store(group, v128.bitselect(f32x4.splat(1), top, empty), TOP);
  v128.store(group, empty, EMPTY);
  v128.store(group, opposite, OPPOSITE);
}
