/** One piece of work for a kernel: a run that becomes Q4_K or F32. Plain data, so that it can go to another thread. */
import type { Fit, Kernel } from './kernel.js'
import { Q4K_BLOCK_BYTES } from './blocks/q4k.js'
import { nonFiniteScale } from './scales.js'
import { fitsInPlace, quantizeRun, runBlocks, runToF32, type BadValue, type Run } from './run.js'

export interface Task {
  readonly run: Run
  /** How to fit Q4_K; undefined to widen to F32. */
  readonly fit: Fit | undefined
  /** Whether the result may overwrite the run's own memory. */
  readonly mayOverwrite: boolean
}

/** The result's bytes, or what cannot be converted: a value, or a super-block whose scale would be infinite. */
export type TaskResult = { readonly data: Uint8Array } | { readonly bad: BadValue } | { readonly hugeBlock: number }

/** Bytes that a task's result has. */
export function resultBytes(run: Run, fit: Fit | undefined): number {
  return fit === undefined ? run.elements * 4 : runBlocks(run) * Q4K_BLOCK_BYTES
}

/** Whether the result takes the front of its source's memory. */
export function isInPlace({ run, fit, mayOverwrite }: Task): boolean {
  return fit !== undefined && mayOverwrite && fitsInPlace(run)
}

/** @param spare memory of at least `resultBytes` for a result that may not overwrite its source */
export function performTask(task: Task, kernel: Kernel, spare?: Uint8Array): TaskResult {
  const { run, fit } = task
  const size = resultBytes(run, fit)
  const data = isInPlace(task) ? run.data.subarray(0, size) : (spare?.subarray(0, size) ?? new Uint8Array(size))
  if (fit === undefined) {
    const bad = runToF32(run, kernel, data)
    return bad ? { bad } : { data }
  }
  const bad = quantizeRun(run, fit, kernel, data)
  if (bad) return { bad }
  // Scales are stored in half precision, which ends at 65504: both references then write an infinite one.
  const hugeBlock = nonFiniteScale('Q4_K', data)
  return hugeBlock === undefined ? { data } : { hugeBlock }
}
