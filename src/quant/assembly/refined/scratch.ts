/** Where the refined fits keep what they work on: up to four groups of four sub-blocks, one a lane. */
import { SCRATCH } from "../memory";

/** A group's vectors, which each kind of fit names for itself; and behind them its elements: value and weight. */
const GROUP_BYTES: usize = 2048;
export const ELEMENTS: usize = 768;
export const X: usize = ELEMENTS;
export const WEIGHT: usize = ELEMENTS + 16;
export const ELEMENT_BYTES: usize = 32;

/** A group's first vectors: its sub-blocks' least and greatest value. */
export const LEAST_X: usize = 0;
export const MOST_X: usize = 16;

/** Numerators of the candidates, a vector each. */
export const NUMERATORS: usize = SCRATCH + 4 * GROUP_BYTES;
/** Vectors of a type's own constants. */
export const CONSTANTS: usize = NUMERATORS + 256;
/** The values of a super-block, a byte each, counted from 0 up. */
export const VALUES: usize = CONSTANTS + 64;

/** Address of group 0 .. 3. */
@inline
export function groupAddress(index: usize): usize {
  return SCRATCH + index * GROUP_BYTES;
}

/** Stores what candidate `index` divides. */
export function storeNumerator(index: usize, numerator: f64): void {
  v128.store(NUMERATORS + (index << 4), f32x4.splat(<f32>numerator));
}

@inline
export function numerator(index: usize): v128 {
  return v128.load(NUMERATORS + (index << 4));
}
