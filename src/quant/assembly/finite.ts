/**
 * NaN and infinity are refused. The fits look for them without a pass of their own: they hold a sum over the values
 * anyway, and a finite sum has only finite terms. The reverse does not hold (finite values can overflow a sum), so a sum
 * that is not finite is only a reason to look closely.
 */

/** Whether some lane is NaN or infinite: `sum - sum` is NaN in such a lane, 0 in the others. */
@inline
export function anyLaneNotFinite(sum: v128): bool {
  const difference = f32x4.sub(sum, sum);
  return v128.any_true(f32x4.ne(difference, difference));
}

/** Index of the first NaN or infinity among the f32 values at `input`, or -1. */
export function firstNotFinite(input: usize, elements: i32): i32 {
  const EXPONENT = 0x7f800000;
  for (let element = 0; element < elements; element++) {
    if ((load<u32>(input + ((<usize>element) << 2)) & EXPONENT) == EXPONENT) return element;
  }
  return -1;
}
