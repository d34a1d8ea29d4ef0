/** What the fits with an importance matrix share: how much an error in a value counts. */

const { fround } = Math

/** `sum(x * x)`, one running f32 sum. */
export function sumOfSquares(x: Float32Array): number {
  let sum = 0
  for (const v of x) sum = fround(sum + fround(v * v))
  return sum
}

/**
 * Weights of values: `importance * sqrt(meanSquare + x * x)`.
 * @param meanSquare of the values around: of the super-block, or of the row; some types take twice that
 * @param weights takes one a value
 */
export function weigh(x: Float32Array, importance: Float32Array, meanSquare: number, weights: Float32Array): void {
  for (let i = 0; i < x.length; i++) {
    const v = x[i] ?? 0
    weights[i] = (importance[i] ?? 0) * fround(Math.sqrt(fround(meanSquare + fround(v * v))))
  }
}
