/**
 * With importance, the scales of a super-block, and likewise its mins, become whole numbers and a common factor by a fit of
 * their own. One lane each: the scales and the mins of two super-blocks.
 */
import { roundBits } from "../rounding";
import { MIN, SCALE, SUM_W, groupAddress, transpose4 } from "./group";
import { CODES, FACTORS, VALUES, VALUE_WEIGHTS } from "./scratch";

/** Scales that are all below this count as 0. */
const EPSILON: f32 = 1e-15;
/** Passes in which single numbers are moved. */
const PASSES: i32 = 5;

/**
 * Fits the scales and mins of the first 2 * `groups` groups, of which each super-block has `groups`, to numbers up to `most`.
 * Leaves their bytes in CODES, integers, four vectors a group: scales and mins of the first super-block's, then of the
 * second's. FACTORS holds the four factors in the same order.
 */
export function fitScales(groups: usize, most: i32): void {
  for (let i: usize = 0; i < groups; i++) {
    const a = groupAddress(i);
    const b = groupAddress(groups + i);
    const at = i * 64;
    const minsA = f32x4.neg(v128.load(a, MIN));
    const minsB = f32x4.neg(v128.load(b, MIN));
    transpose4(v128.load(a, SCALE), minsA, v128.load(b, SCALE), minsB, VALUES + at, 16);
    const weightsA = v128.load(a, SUM_W);
    const weightsB = v128.load(b, SUM_W);
    transpose4(weightsA, weightsA, weightsB, weightsB, VALUE_WEIGHTS + at, 16);
  }
  const bytes = groups * 64;
  const max = greatest(bytes);
  const counts = v128.not(f32x4.lt(max, f32x4.splat(EPSILON)));
  const factor = fitLanes(bytes, max, most);
  v128.store(FACTORS, v128.and(factor, counts));
  for (let at: usize = 0; at < bytes; at += 64) {
    transpose4(
      v128.and(v128.load(CODES + at), counts), v128.and(v128.load(CODES + at, 16), counts),
      v128.and(v128.load(CODES + at, 32), counts), v128.and(v128.load(CODES + at, 48), counts),
      CODES + at, 16,
    );
  }
}

/** The greatest value, 0 at least. Of a NaN the next value takes the place. */
@inline
function greatest(bytes: usize): v128 {
  let max = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) {
    const v = v128.load(VALUES + at);
    max = v128.bitselect(max, v, f32x4.gt(max, v));
  }
  return max;
}

/** Leaves the codes' bytes in CODES and returns the factors. */
function fitLanes(bytes: usize, max: v128, most: i32): v128 {
  const mostCode = i32x4.splat(most);
  let inverse = f32x4.div(f32x4.splat(<f32>most), max);
  // The first guess alone is cut to a byte, and not capped.
  let bestError = errorOf(bytes, inverse, mostCode, true);
  for (let change = -4; change <= 4; change++) {
    if (change == 0) continue;
    const tryInverse = f32x4.div(f32x4.splat(<f32>0.1 * <f32>change + <f32>most), max);
    const error = errorOf(bytes, tryInverse, mostCode, false);
    const better = f32x4.lt(error, bestError);
    bestError = v128.bitselect(error, bestError, better);
    inverse = v128.bitselect(tryInverse, inverse, better);
  }

  let sumXL = f32x4.splat(0);
  let sumL2 = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) {
    const v = v128.load(VALUES + at);
    const w = v128.load(VALUE_WEIGHTS + at);
    const code = cap(f32x4.mul(inverse, v), mostCode);
    const q = f32x4.convert_i32x4_s(code);
    v128.store(CODES + at, v128.and(code, i32x4.splat(255)));
    sumXL = f32x4.add(sumXL, f32x4.mul(f32x4.mul(w, v), q));
    sumL2 = f32x4.add(sumL2, f32x4.mul(f32x4.mul(w, q), q));
  }

  for (let pass = 0; pass < PASSES; pass++) {
    // A lane in which a pass changes nothing stays as it is in the passes that others need.
    let changed = i32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) {
      const v = v128.load(VALUES + at);
      const w = v128.load(VALUE_WEIGHTS + at);
      const wv = f32x4.mul(w, v);
      const code = v128.load(CODES + at);
      const q = f32x4.convert_i32x4_s(code);
      const restXL = f32x4.sub(sumXL, f32x4.mul(wv, q));
      const restL2 = f32x4.sub(sumL2, f32x4.mul(f32x4.mul(w, q), q));
      const positive = v128.and(f32x4.gt(restXL, f32x4.splat(0)), f32x4.gt(restL2, f32x4.splat(0)));
      const tryCode = cap(f32x4.div(f32x4.mul(v, restL2), restXL), mostCode);
      const movable = v128.and(positive, i32x4.ne(tryCode, code));
      if (!v128.any_true(movable)) continue;
      const tryQ = f32x4.convert_i32x4_s(tryCode);
      const tryXL = f32x4.add(restXL, f32x4.mul(wv, tryQ));
      const tryL2 = f32x4.add(restL2, f32x4.mul(f32x4.mul(w, tryQ), tryQ));
      const gain = f32x4.gt(
        f32x4.mul(f32x4.mul(tryXL, tryXL), sumL2),
        f32x4.mul(f32x4.mul(sumXL, sumXL), tryL2),
      );
      const better = v128.and(movable, gain);
      v128.store(CODES + at, v128.bitselect(v128.and(tryCode, i32x4.splat(255)), code, better));
      sumXL = v128.bitselect(tryXL, sumXL, better);
      sumL2 = v128.bitselect(tryL2, sumL2, better);
      changed = v128.or(changed, better);
    }
    if (!v128.any_true(changed)) break;
  }
  return v128.and(f32x4.div(sumXL, sumL2), f32x4.gt(sumL2, f32x4.splat(0)));
}

@inline
function errorOf(bytes: usize, inverse: v128, most: v128, isFirst: bool): v128 {
  const scale = f32x4.div(f32x4.splat(1), inverse);
  let error = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) {
    const v = v128.load(VALUES + at);
    const t = f32x4.mul(inverse, v);
    const code = isFirst ? v128.and(roundBits(t), i32x4.splat(255)) : cap(t, most);
    const e = f32x4.sub(v, f32x4.mul(scale, f32x4.convert_i32x4_s(code)));
    error = f32x4.add(error, f32x4.mul(f32x4.mul(v128.load(VALUE_WEIGHTS + at), e), e));
  }
  return error;
}

/** `min(most, round(v))`: may be negative. */
@inline
function cap(v: v128, most: v128): v128 {
  return i32x4.min_s(roundBits(v), most);
}
