/**
 * Sums in f64 that carry what each addition loses: for as many addends as a model has, their order shows in no digit of the
 * result. A sum is two numbers of an array: itself, and `SUMS` places behind it what it lacks.
 */

/** Of w^2, v^2, e^2, nothing, u w^2, u e^2. */
export const SUMS = 6
export const [W2, V2, E2, UW2, UE2] = [0, 1, 2, 4, 5]

export function newSums(): Float64Array {
  return new Float64Array(2 * SUMS)
}

/** Adds all sums of `addends` to those of `sums`. */
export function addSums(sums: Float64Array, addends: Float64Array): void {
  for (let i = 0; i < SUMS; i++) {
    const sum = sums[i] as number
    const x = addends[i] as number
    const next = sum + x
    const part = next - sum
    const lost = sum - (next - part) + (x - part)
    sums[i] = next
    sums[SUMS + i] = (sums[SUMS + i] as number) + lost + (addends[SUMS + i] as number)
  }
}

export function sumOf(sums: Float64Array, which: number): number {
  return (sums[which] as number) + (sums[SUMS + which] as number)
}
