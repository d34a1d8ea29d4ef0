/** A group of a refined fit of scale and min: four sub-blocks, one to a lane; and what all super-blocks of a type have in common. */
import { storeNumerator } from "./scratch";

// One vector each:
/** Lanes whose range counts, the least value or 0, and the range: 1 in other lanes. */
export const FITTED: usize = 32;
export const LOW: usize = 48;
export const RANGE: usize = 64;
export const SUM_W: usize = 80;
export const SUM_X: usize = 96;
/** sum(w * y), of values counted from LOW. */
export const SUM_Y: usize = 112;
/** The best candidate. */
export const GAIN: usize = 128;
export const SCALE: usize = 144;
export const OFFSET: usize = 160;
/** Scales and mins as whole numbers, in f32. */
export const SCALE_CODE: usize = 176;
export const MIN_CODE: usize = 192;
/** Sums over the values with these. */
export const SUM_L: usize = 208;
export const SUM_L2: usize = 224;
export const SUM_XL: usize = 240;
/** What three mins decode to, and the errors of nine pairs. */
export const LOWS: usize = 256;
export const ERRORS: usize = 304;

/** What the types differ in. */
export let groups: usize = 2;
export let elements: usize = 32;
export let maxScale: f32 = 63;

/** Sets what the super-blocks of a type have in common. */
export function setType(groupCount: usize, subBlockElements: usize, maxValue: f64, greatestScale: f32): void {
  groups = groupCount;
  elements = subBlockElements;
  maxScale = greatestScale;
  storeNumerator(0, maxValue);
  storeNumerator(1, maxValue - 1.2);
  storeNumerator(2, maxValue - 0.9);
  storeNumerator(3, maxValue - 0.6);
  storeNumerator(4, maxValue - 0.3);
  storeNumerator(5, maxValue + 0.3);
  storeNumerator(6, maxValue + 0.6);
  storeNumerator(7, maxValue + 0.9);
  storeNumerator(8, maxValue + 1.2);
}
