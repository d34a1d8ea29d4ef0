/** sum(x * x) of two super-blocks, in the first two lanes, each one running sum: side by side, as each is a chain. */
export function sumOfSquares(a: usize, b: usize): v128 {
  let sum = f32x4.splat(0);
  const end = a + 1024;
  for (; a < end; a += 8, b += 8) {
    const both = i64x2.shuffle(v128.load64_zero(a), v128.load64_zero(b), 0, 2);
    const squares = f32x4.mul(both, both);
    sum = f32x4.add(sum, i32x4.shuffle(squares, squares, 0, 2, 0, 2));
    sum = f32x4.add(sum, i32x4.shuffle(squares, squares, 1, 3, 1, 3));
  }
  return sum;
}
