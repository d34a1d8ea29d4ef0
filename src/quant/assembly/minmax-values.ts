/**
 * The last step of "minmax": every value is `clamp(round((x + min) / scale), 0, 15)`. The division would be half of the fit's
 * whole time, so the values are multiplied by 1 / scale, and divided only where that could round to another number.
 */
import { SUB_BLOCK_INPUT_BYTES } from "./memory";
import { JUST_BELOW_HALF } from "./rounding";

// A super-block's part of SCALES. The scales and mins are first those of the sub-blocks, then what their 6 bits decode to.
export const MINS: usize = 32;
/** 1 / scale, and what values are cut to, 4 bytes of 15. Both are 0 where the scale counts as 0. */
export const INVERSES: usize = 64;
export const LIMITS: usize = 96;
export const SCALES_BYTES: usize = 128;

/**
 * 2^7, and the half that rounding adds. From 2^7 to 2^8 an f32 counts in steps of 2^-16. So the pattern of `v + this` is a
 * fixed-point number: UPPER_OF_128 plus the whole part of v + 0.5 in the upper 16 bits, its fraction in the lower 16.
 */
const TO_FIXED_POINT: f32 = 128.5;
/** The upper half of the pattern of 128. */
const UPPER_OF_128: i16 = 0x4300;

/**
 * The 128 bytes of values: byte l of pair k holds value l of sub-block 2k low, of sub-block 2k + 1 high.
 *
 * Why the bytes are those of the division: let t be x + min in f32, y = t / scale in real numbers, u = 2^-24. The division's
 * quotient is off y by u y, the product v = t * (1 / scale) by 2 u y and a trifle. Up to y = 16 they are less than 3.1 * 2^-20
 * apart, and adding TO_FIXED_POINT rounds v by 8 * 2^-20 more: together less than one step of the fraction, 16 * 2^-20. A
 * fraction that is not 0 is at least a step away from the whole numbers on both sides, so the quotient plus 0.5 has the same
 * whole part. Where a fraction is 0 (one value in 65,536, by chance), the pair of sub-blocks is divided.
 *
 * Outside 0 .. 16, v and the quotient are on the same side and are both cut. An infinite t makes both infinite. 1 / scale is
 * a normal number: scale is above 1e-10, and below 3e37, a finite range by 15. Where the scale counts as 0, all is cut to 0.
 */
@inline
export function writeValues(scales: usize, input: usize, output: usize): void {
  const end = scales + MINS;
  let inDoubt = false;
  for (; scales < end; scales += 8, input += 2 * SUB_BLOCK_INPUT_BYTES, output += 32) {
    if (!inDoubt) {
      const fractionsLow = writeSubBlock(scales, input, output, false, false);
      const fractionsHigh = writeSubBlock(scales + 4, input + SUB_BLOCK_INPUT_BYTES, output, true, false);
      inDoubt = !i16x8.all_true(i16x8.min_u(fractionsLow, fractionsHigh));
    }
    // The pairs that follow are divided at once: some data, ternary weights for one, are in doubt everywhere.
    if (inDoubt) dividePair(scales, input, output);
  }
}

/** Not inlined: it would take registers from the loop of the multiplication. */
function dividePair(scales: usize, input: usize, output: usize): void {
  writeSubBlock(scales, input, output, false, true);
  writeSubBlock(scales + 4, input + SUB_BLOCK_INPUT_BYTES, output, true, true);
}

/**
 * The values of a sub-block: the low halves of 32 bytes, or added to them as the high halves. Returns, by 16-bit lanes, the
 * least of the patterns' halves: after a multiplication, a lane is 0 where some fraction was. (An upper half is 0 only where
 * v is next to -128.5: a division in vain.)
 */
@inline
function writeSubBlock(scales: usize, values: usize, output: usize, high: bool, divide: bool): v128 {
  const min = v128.load32_splat(scales, MINS);
  const factor = divide ? v128.load32_splat(scales) : v128.load32_splat(scales, INVERSES);
  const limit = v128.load32_splat(scales, LIMITS);
  let fractions = i32x4.splat(-1);
  const end = output + 32;
  for (; output < end; output += 16, values += 64) {
    const a = fixedPoint(v128.load(values), min, factor, divide);
    const b = fixedPoint(v128.load(values, 16), min, factor, divide);
    const c = fixedPoint(v128.load(values, 32), min, factor, divide);
    const d = fixedPoint(v128.load(values, 48), min, factor, divide);
    fractions = i16x8.min_u(fractions, i16x8.min_u(i16x8.min_u(a, b), i16x8.min_u(c, d)));
    const bytes = wholeParts(a, b, c, d, limit);
    v128.store(output, high ? v128.or(v128.load(output), i16x8.shl(bytes, 4)) : bytes);
  }
  return fractions;
}

/** Four fixed-point numbers: `factor` is 1 / scale, or scale to `divide` by, which leaves only whole numbers. */
@inline
function fixedPoint(x: v128, min: v128, factor: v128, divide: bool): v128 {
  const t = f32x4.add(x, min);
  if (!divide) return f32x4.add(f32x4.mul(t, factor), f32x4.splat(TO_FIXED_POINT));
  const rounded = f32x4.floor(f32x4.add(f32x4.div(t, factor), f32x4.splat(JUST_BELOW_HALF)));
  return f32x4.add(rounded, f32x4.splat(128));
}

/**
 * The whole parts of 16 fixed-point numbers as bytes, cut to 0 .. `limit`. Patterns are ordered as their numbers are, so what
 * is out of range saturates on the right side.
 */
@inline
function wholeParts(a: v128, b: v128, c: v128, d: v128, limit: v128): v128 {
  const base = i16x8.splat(UPPER_OF_128);
  const ab = i16x8.narrow_i32x4_s(i32x4.shr_s(a, 16), i32x4.shr_s(b, 16));
  const cd = i16x8.narrow_i32x4_s(i32x4.shr_s(c, 16), i32x4.shr_s(d, 16));
  return i8x16.min_u(i8x16.narrow_i16x8_u(i16x8.sub_sat_s(ab, base), i16x8.sub_sat_s(cd, base)), limit);
}
