/**
 * The last steps of a signed super-block of 16 sub-blocks of 16: from the scales in SCALES to what they decode to in STEPS,
 * and to the codes in CODES, counted from 0 up.
 */
import { CODE, CODES, ELEMENT_BYTES, ELEMENTS, EMPTY, INVERSE, SCALE, SCALES, STEPS, X, groupAddress } from "./group";
import { storeBytes } from "../pack";

const SUB_BLOCKS: usize = 16;
/** Of a sub-block's 16 values. */
const VALUES_BYTES: usize = 64;

const MAGIC: f32 = 12582912;
const FRACTION_BITS: i32 = 0x7fffff;
/** The low 23 bits of MAGIC's own pattern. */
const MAGIC_FRACTION: i32 = 0x400000;

/** `clamp(round(v), -zero, zero - 1) + zero` for every v, as integers. */
@inline
export function codeOfAny(v: v128, zero: i32): v128 {
  const fraction = v128.and(f32x4.add(v, f32x4.splat(MAGIC)), i32x4.splat(FRACTION_BITS));
  const least = MAGIC_FRACTION - zero;
  const clamped = i32x4.min_s(i32x4.max_s(fraction, i32x4.splat(least)), i32x4.splat(MAGIC_FRACTION + zero - 1));
  return i32x4.sub(clamped, i32x4.splat(least));
}

/** The scales of groups 0 to 3, into SCALES. Returns the first of the largest magnitude, 0 where there is none. */
export function gatherScales(): f32 {
  const a = v128.load(groupAddress(0), SCALE);
  const b = v128.load(groupAddress(1), SCALE);
  const c = v128.load(groupAddress(2), SCALE);
  const d = v128.load(groupAddress(3), SCALE);
  v128.store(SCALES, a);
  v128.store(SCALES, b, 16);
  v128.store(SCALES, c, 32);
  v128.store(SCALES, d, 48);
  // NaN never wins: `pmax` keeps its first operand then.
  let m = f32x4.pmax(f32x4.splat(0), f32x4.abs(a));
  m = f32x4.pmax(m, f32x4.abs(b));
  m = f32x4.pmax(m, f32x4.abs(c));
  m = f32x4.pmax(m, f32x4.abs(d));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 2, 3, 0, 1));
  m = f32x4.pmax(m, i32x4.shuffle(m, m, 1, 0, 3, 2));
  const positive = lanesEqual(m, a, b, c, d);
  const negative = lanesEqual(f32x4.neg(m), a, b, c, d);
  const top = f32x4.extract_lane(m, 0);
  return ctz(positive) <= ctz(negative) ? top : -top;
}

/** A bit for every scale that equals `m`, the first one lowest. */
@inline
function lanesEqual(m: v128, a: v128, b: v128, c: v128, d: v128): i32 {
  return i32x4.bitmask(f32x4.eq(a, m)) | (i32x4.bitmask(f32x4.eq(b, m)) << 4)
    | (i32x4.bitmask(f32x4.eq(c, m)) << 8) | (i32x4.bitmask(f32x4.eq(d, m)) << 12);
}

/** Stores the steps that 16 scales, in signed bytes, decode to. */
@inline
export function storeSteps(d: f32, scales: v128): void {
  const decoded = f32x4.splat(d);
  const low = i16x8.extend_low_i8x16_s(scales);
  const high = i16x8.extend_high_i8x16_s(scales);
  v128.store(STEPS, f32x4.mul(decoded, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low))));
  v128.store(STEPS, f32x4.mul(decoded, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low))), 16);
  v128.store(STEPS, f32x4.mul(decoded, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high))), 32);
  v128.store(STEPS, f32x4.mul(decoded, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high))), 48);
}

/** Chooses all codes by the steps in STEPS: `clamp(round(x / step), -zero, zero - 1) + zero`. */
export function chooseCodes(input: usize, zero: i32): void {
  for (let j: usize = 0; j < SUB_BLOCKS; j++, input += VALUES_BYTES) {
    const step = v128.load32_splat(STEPS + (j << 2));
    storeBytes(
      CODES + (j << 4),
      codeOfAny(f32x4.div(v128.load(input), step), zero),
      codeOfAny(f32x4.div(v128.load(input, 16), step), zero),
      codeOfAny(f32x4.div(v128.load(input, 32), step), zero),
      codeOfAny(f32x4.div(v128.load(input, 48), step), zero),
    );
  }
}

/** Whether some step is 0: the codes of the fit stay then. */
@inline
export function someStepIsZero(): bool {
  const zero = f32x4.splat(0);
  const low = v128.or(f32x4.eq(v128.load(STEPS), zero), f32x4.eq(v128.load(STEPS, 16), zero));
  const high = v128.or(f32x4.eq(v128.load(STEPS, 32), zero), f32x4.eq(v128.load(STEPS, 48), zero));
  return v128.any_true(v128.or(low, high));
}

/** Where steps are 0, brings the codes of the search into CODES. */
export function keepSearched(zero: i32): void {
  for (let j: usize = 0; j < SUB_BLOCKS; j++) {
    if (load<f32>(STEPS + (j << 2)) != 0) continue;
    const lane = groupAddress(j >> 2) + ((j & 3) << 2);
    const isEmpty = load<i32>(lane, EMPTY) != 0;
    const inverse = f32x4.splat(load<f32>(lane, INVERSE));
    for (let i: usize = 0; i < 16; i++) {
      const x = load<f32>(lane + ELEMENTS + i * ELEMENT_BYTES, X);
      const code = i32x4.extract_lane(codeOfAny(f32x4.mul(inverse, f32x4.splat(x)), zero), 0);
      store<u8>(CODES + (j << 4) + i, isEmpty ? 0 : code);
    }
  }
}


/** The same for codes that a descent left. */
export function keepDescended(zero: i32): void {
  for (let j: usize = 0; j < SUB_BLOCKS; j++) {
    if (load<f32>(STEPS + (j << 2)) != 0) continue;
    const lane = groupAddress(j >> 2) + ((j & 3) << 2);
    const isEmpty = load<i32>(lane, EMPTY) != 0;
    for (let i: usize = 0; i < 16; i++) {
      const code = <i32>load<f32>(lane + ELEMENTS + i * ELEMENT_BYTES, CODE) + zero;
      store<u8>(CODES + (j << 4) + i, isEmpty ? 0 : code);
    }
  }
}
