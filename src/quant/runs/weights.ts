/** From one float dtype to another, exactly as numpy and torch round; what is no number is refused. */
import { WEIGHT_BYTES, type Kernel, type WeightDType } from '../kernel.js'
import type { BadValue } from './run.js'

/** How the numbers of a tensor become those of another. */
export interface WeightConversion {
  readonly from: WeightDType
  readonly to: WeightDType
  /** Added to each, before it is rounded: in f32, and where the source is F16 in f16. */
  readonly add?: number | undefined
}

/** Whether the bytes stay the same. */
export function keepsBytes({ from, to, add }: WeightConversion): boolean {
  return from === to && add === undefined
}

/** @returns the first number that is NaN or infinite; undefined when none is */
export function checkWeights(dtype: WeightDType, kernel: Kernel, source: Uint8Array): BadValue | undefined {
  return inParts(dtype, kernel, source, (part, count) => kernel.firstNotFinite(dtype, part, count))
}

/**
 * Converts numbers. One that is finite and becomes infinite is refused as well: it would make all that is computed with
 * it infinite or NaN.
 * @param source whole numbers
 * @param target takes the result
 * @returns the first number that is NaN or infinite, or becomes so; undefined when none is, and `target` is filled
 */
export function convertWeights(
  { from, to, add }: WeightConversion,
  kernel: Kernel,
  source: Uint8Array,
  target: Uint8Array,
): BadValue | undefined {
  const bytes = WEIGHT_BYTES[to]
  return inParts(from, kernel, source, (part, count, first) => {
    load(from, part, count, kernel)
    if (add !== undefined) {
      const bad = sum(add, from, count, kernel)
      if (bad >= 0) return bad
    }
    return kernel.narrow(to, count, target.subarray(first * bytes, (first + count) * bytes))
  })
}

/** Adds to the numbers in the kernel's input. A sum of halves is a half, as in torch. */
function sum(add: number, from: WeightDType, count: number, kernel: Kernel): number {
  kernel.add(add, count)
  if (from !== 'F16') return -1
  const halves = new Uint8Array(count * WEIGHT_BYTES.F16)
  const bad = kernel.narrow('F16', count, halves)
  kernel.widen('F16', halves, 0, count)
  return bad
}

/** @param work does as many numbers as the kernel takes, and gives the index of one that is bad, or -1 */
function inParts(
  dtype: WeightDType,
  kernel: Kernel,
  source: Uint8Array,
  work: (part: Uint8Array, count: number, first: number) => number,
): BadValue | undefined {
  const bytes = WEIGHT_BYTES[dtype]
  const elements = source.length / bytes
  const step = kernel.input.length
  for (let first = 0; first < elements; first += step) {
    const count = Math.min(step, elements - first)
    const part = source.subarray(first * bytes, (first + count) * bytes)
    const bad = work(part, count, first)
    if (bad < 0) continue
    load(dtype, part.subarray(bad * bytes), 1, kernel)
    return { element: first + bad, value: kernel.input[0] ?? NaN }
  }
  return undefined
}

/** Puts numbers into the kernel's input as f32. */
function load(dtype: WeightDType, bytes: Uint8Array, count: number, kernel: Kernel): void {
  const { input } = kernel
  if (dtype === 'F32') new Uint8Array(input.buffer, input.byteOffset, count * 4).set(bytes.subarray(0, count * 4))
  else kernel.widen(dtype, bytes, 0, count)
}
