import { BLOCK_INPUT_BYTES } from "../memory";

/** `sum(x * x)` of four super-blocks, one a lane. */
export function sumSquaresOfFour(input: usize): v128 {
  let sum = f32x4.splat(0);
  const end = input + BLOCK_INPUT_BYTES;
  for (; input < end; input += 16) {
    const a = v128.load(input);
    const b = v128.load(input, BLOCK_INPUT_BYTES);
    const c = v128.load(input, 2 * BLOCK_INPUT_BYTES);
    const d = v128.load(input, 3 * BLOCK_INPUT_BYTES);
    const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5);
    const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7);
    const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5);
    const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7);
    sum = addSquare(sum, i64x2.shuffle(ab01, cd01, 0, 2));
    sum = addSquare(sum, i64x2.shuffle(ab01, cd01, 1, 3));
    sum = addSquare(sum, i64x2.shuffle(ab23, cd23, 0, 2));
    sum = addSquare(sum, i64x2.shuffle(ab23, cd23, 1, 3));
  }
  return sum;
}

@inline
function addSquare(sum: v128, x: v128): v128 {
  return f32x4.add(sum, f32x4.mul(x, x));
}
