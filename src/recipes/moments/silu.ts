/**
 * What a gate lets through in the mean: the second moment of silu of a number that is normally distributed, by its
 * variance. The integral is taken once at some hundred variances, and read off in between.
 */

/** Logarithms to base 2 of the variances that the table holds; below and above the limits are exact to its error. */
const LEAST = -40
const GREATEST = 40
const STEPS_PER_OCTAVE = 16
/** Of the integral: the normal distribution has nothing to add beyond nine deviations. */
const REACH = 9
const POINTS = 512

let table: Float64Array | undefined

/**
 * The mean of silu(x)^2, where x is normally distributed about 0; silu(x) = x / (1 + exp(-x)). Exact to about 1e-8.
 * @param variance 0 or more
 */
export function meanSquareOfSilu(variance: number): number {
  if (!(variance > 0)) return 0
  const place = (Math.log2(variance) - LEAST) * STEPS_PER_OCTAVE
  const last = (GREATEST - LEAST) * STEPS_PER_OCTAVE
  if (place <= 1) return variance / 4
  if (place >= last - 2) return variance / 2
  table ??= Float64Array.from({ length: last + 1 }, (_, i) => share(2 ** (LEAST + i / STEPS_PER_OCTAVE)))
  const index = Math.floor(place)
  return variance * cubic(table, index, place - index)
}

/** The mean of silu(x)^2 as a share of the variance, by the trapezoidal rule: from 1/4 where it is small to 1/2. */
function share(variance: number): number {
  const deviation = Math.sqrt(variance)
  let sum = 0
  for (let i = -POINTS; i <= POINTS; i++) {
    const z = (i * REACH) / POINTS
    const gate = 1 / (1 + Math.exp(-deviation * z))
    sum += (z * gate) ** 2 * Math.exp((-z * z) / 2)
  }
  return (sum * REACH) / POINTS / Math.sqrt(2 * Math.PI)
}

/** Through four neighbours, between the second and the third. */
function cubic(values: Float64Array, index: number, t: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = values.subarray(index - 1, index + 3)
  const first = (-t * (t - 1) * (t - 2)) / 6
  const second = ((t + 1) * (t - 1) * (t - 2)) / 2
  const third = (-(t + 1) * t * (t - 2)) / 2
  const fourth = ((t + 1) * t * (t - 1)) / 6
  return a * first + b * second + c * third + d * fourth
}
