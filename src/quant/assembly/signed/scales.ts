/**
 * The search on the 16 scales of a super-block, with importance. It is one fit, so the lanes are its candidates. Scales may
 * be of any size, and NaN, which has the code 0.
 */
import { storeBytes } from "../pack";
import { CANDIDATE_COUNT, LEAST_MAGNITUDE, REST, SCALES } from "./group";
import { negatedNumerator } from "./search";
import { codeOfAny } from "./values";

const ZERO: i32 = 32;
/** Of a row of one f32 a candidate; the last of 20 is none. */
const ROW_BYTES: usize = 80;

const NUMERATORS: usize = REST;
const INVERSES: usize = NUMERATORS + ROW_BYTES;
const SUMS_XQ: usize = INVERSES + ROW_BYTES;
const SUMS_QQ: usize = SUMS_XQ + ROW_BYTES;
/** The sums of the weights in the 16 sub-blocks. */
export const SCALE_WEIGHTS: usize = SUMS_QQ + ROW_BYTES;
/** The codes found, from 0 up: 16 bytes. */
export const SCALE_CODES: usize = SCALE_WEIGHTS + 64;

/** Writes the negated numerators, that of the first guess before the others. */
export function storeScaleNumerators(): void {
  for (let k = 0; k < CANDIDATE_COUNT; k++) {
    store<f32>(NUMERATORS + (<usize>k << 2), negatedNumerator(k, <f32>ZERO));
  }
}

/**
 * Fits SCALES, weighted by SCALE_WEIGHTS, and leaves SCALE_CODES.
 * @param top the first of the largest magnitude
 * @returns the scale of the scales
 */
export function searchScaleOfScales(top: f32): f32 {
  if (abs(top) < LEAST_MAGNITUDE) {
    v128.store(SCALE_CODES, i32x4.splat(0));
    return 0;
  }
  for (let four: usize = 0; four < ROW_BYTES; four += 16) sumFour(four, top);
  let sumXQ = load<f32>(SUMS_XQ);
  let sumQQ = load<f32>(SUMS_QQ);
  let scale: f32 = sumQQ == 0 ? 0 : sumXQ / sumQQ;
  let best = scale * sumXQ;
  let inverse = load<f32>(INVERSES);
  for (let at: usize = 4; at < <usize>CANDIDATE_COUNT << 2; at += 4) {
    sumXQ = load<f32>(SUMS_XQ + at);
    sumQQ = load<f32>(SUMS_QQ + at);
    if (sumQQ > 0 && sumXQ * sumXQ > best * sumQQ) {
      scale = sumXQ / sumQQ;
      best = scale * sumXQ;
      inverse = load<f32>(INVERSES + at);
    }
  }
  const inverses = f32x4.splat(inverse);
  storeBytes(
    SCALE_CODES,
    codeOfAny(f32x4.mul(inverses, v128.load(SCALES)), ZERO),
    codeOfAny(f32x4.mul(inverses, v128.load(SCALES, 16)), ZERO),
    codeOfAny(f32x4.mul(inverses, v128.load(SCALES, 32)), ZERO),
    codeOfAny(f32x4.mul(inverses, v128.load(SCALES, 48)), ZERO),
  );
  return scale;
}

/** Sums four candidates. */
@inline
function sumFour(four: usize, top: f32): void {
  const inverse = f32x4.div(v128.load(NUMERATORS + four), f32x4.splat(top));
  const zero = f32x4.splat(<f32>ZERO);
  let sumXQ = f32x4.splat(0);
  let sumQQ = f32x4.splat(0);
  for (let at: usize = 0; at < 64; at += 4) {
    const x = v128.load32_splat(SCALES + at);
    const w = v128.load32_splat(SCALE_WEIGHTS + at);
    const q = f32x4.sub(f32x4.convert_i32x4_s(codeOfAny(f32x4.mul(inverse, x), ZERO)), zero);
    sumXQ = f32x4.add(sumXQ, f32x4.mul(f32x4.mul(w, x), q));
    sumQQ = f32x4.add(sumQQ, f32x4.mul(f32x4.mul(w, q), q));
  }
  v128.store(INVERSES + four, inverse);
  v128.store(SUMS_XQ + four, sumXQ);
  v128.store(SUMS_QQ + four, sumQQ);
}
