/** What tells, from its sums alone, that a candidate is no better than the fit so far. */
import { BEST_ERROR, SUM_W, SUM_X, SUM_X2 } from "./group";

/** 512 u, see `isHopeless`. */
const UNCERTAINTY: f32 = 1.0 / 32768;
const MAX_SQUARES: f32 = 1e30;

/**
 * Lanes in which the candidate's error is certain not to be less than the best: where no other lane is left, its second
 * pass need not run. In real numbers, whatever s and m are (they may come from a determinant that cancels), the error is
 *
 *     squares + 2 * mixed, squares = s^2 sum(wqq) + m^2 sum(w) + sum(wxx), mixed = s m sum(wq) - s sum(wqx) - m sum(wx).
 *
 * The f32 arithmetic is off that by less than 235 u * squares, u = 2^-24. As 2 |ab| <= a^2 + b^2, the terms of `mixed` are
 * `squares` in sum, and sum(w A^2) <= 3 squares for A = |s q| + |m| + |x|. So:
 *  - the second pass: 120. An e is off by 3 u A, w e^2 by 6 u w A^2 (18 in sum), its products and sums by 34 u (102);
 *  - the sums that come in are off by 33 u at most, up to 4 operations follow: 37 for `squares`, 72 for `mixed` twice;
 *  - the last addition and subtraction: 6.
 * The margin is 512. Underflow, 2^-150 an operation, vanishes in what remains:
 *  - without importance: SUM_X2 is NaN unless the root mean square r is between 1e-9 and 1e9, so `squares` >= 32 r^3,
 *    11 |s| r^2 and 64 |m| r^2, which covers what s or m may multiply;
 *  - with importance: SUM_X2 is NaN unless every weight is above 1e-12, their sum below 1e9, the range and so every |x| below
 *    1e6, and sum(wxx) above 1e-20. Some q is not 0, or the determinant would be: `squares` >= 1e-12 s^2, 1e-12 m^2, 1e-20,
 *    and what underflows is below 1e-9 of that.
 * MAX_SQUARES keeps every step from overflow. NaN anywhere answers "not hopeless".
 */
@inline
export function isHopeless(group: usize, s: v128, m: v128, sumL: v128, sumL2: v128, sumXL: v128): v128 {
  const sumW = v128.load(group, SUM_W);
  const sumX = v128.load(group, SUM_X);
  const weighted = f32x4.add(f32x4.mul(f32x4.mul(s, s), sumL2), f32x4.mul(f32x4.mul(m, m), sumW));
  const squares = f32x4.add(weighted, v128.load(group, SUM_X2));
  const mixed = f32x4.sub(f32x4.mul(s, f32x4.sub(f32x4.mul(m, sumL), sumXL)), f32x4.mul(m, sumX));
  const estimate = f32x4.add(squares, f32x4.add(mixed, mixed));
  const leastError = f32x4.sub(estimate, f32x4.mul(squares, f32x4.splat(UNCERTAINTY)));
  return v128.and(f32x4.gt(leastError, v128.load(group, BEST_ERROR)), f32x4.lt(squares, f32x4.splat(MAX_SQUARES)));
}
