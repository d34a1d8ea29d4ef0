/** One piece of work for a kernel: a run that becomes Q4_K or F32. Plain data, so that it can go to another thread. */
import type { Fit, Kernel } from './kernel.js'
import { Q4K_BLOCK_BYTES } from './q4k-block.js'
import { quantizeRun, runBlocks, runToF32, type NonFinite, type Run } from './run.js'

export interface Task {
  readonly run: Run
  /** How to fit Q4_K; undefined to widen to F32. */
  readonly fit: Fit | undefined
  /** Whether the result may overwrite the run's own memory. */
  readonly mayOverwrite: boolean
}

/** The result's bytes, or the value that cannot be quantized. */
export type TaskResult = { readonly data: Uint8Array } | { readonly nonFinite: NonFinite }

/** Bytes that a task's result has. */
export function resultBytes({ run, fit }: Task): number {
  return fit === undefined ? run.elements * 4 : runBlocks(run) * Q4K_BLOCK_BYTES
}

export function performTask(task: Task, kernel: Kernel): TaskResult {
  const { run, fit, mayOverwrite } = task
  const size = resultBytes(task)
  if (fit === undefined) {
    const data = new Uint8Array(size)
    runToF32(run, kernel, data)
    return { data }
  }
  // The result is written behind what was read, row by row, so it may go where the source stood if it is no larger.
  const data = mayOverwrite && size <= run.data.length ? run.data.subarray(0, size) : new Uint8Array(size)
  const nonFinite = quantizeRun(run, fit, kernel, data)
  return nonFinite ? { nonFinite } : { data }
}
