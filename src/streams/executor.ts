/** Who does the arithmetic. */
import { createScalarKernel, type Fit } from '../quant/kernel.js'
import type { Run } from '../quant/run.js'
import { performTask, type TaskResult } from '../quant/task.js'
import type { TensorRecord } from '../tensor.js'
import { claim } from './buffers.js'

export interface Executor {
  /** Bytes of records that may be under way at once. */
  readonly highWaterMark: number
  /**
   * Turns a run of `record` into Q4_K, or without a fit into F32. The record's data is used up.
   */
  perform(run: Run, fit: Fit | undefined, record: TensorRecord): Promise<TaskResult>
  /** Frees what the executor holds; tasks that are under way fail or end. */
  close(): Promise<void>
}

/** Does the arithmetic at once, on the thread that asks. */
export function createInlineExecutor(): Executor {
  const kernel = createScalarKernel()
  return {
    highWaterMark: 0,
    perform(run, fit, record) {
      const pool = claim(record.data)
      const result = performTask({ run, fit, mayOverwrite: pool !== undefined }, kernel)
      if (pool && 'data' in result && result.data.buffer === record.data.buffer) {
        return Promise.resolve({ data: pool.adopt(record.data.buffer as ArrayBuffer, result.data.length) })
      }
      return Promise.resolve(result)
    },
    close: () => Promise.resolve(),
  }
}
