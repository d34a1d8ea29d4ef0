/** One piece of work for a kernel: a run that becomes blocks or numbers. Plain data, so that it can go to another thread. */
import { DTYPES } from '../../model/dtypes.js'
import type { Kernel } from '../kernel.js'
import {
  convertRun,
  fitsInPlace,
  isBlockDType,
  quantizeRun,
  runBlocks,
  type BadValue,
  type LostBlocks,
  type Run,
  type Target,
  type Witness,
} from './run.js'
import { cutScale, nonFiniteScale } from './scales.js'

export interface Task {
  readonly run: Run
  readonly to: Target
  /** Whether the result may overwrite the run's own memory. */
  readonly mayOverwrite: boolean
}

/** The result's bytes, or what cannot be converted: a value, or a block whose scale would be infinite. */
export type TaskResult =
  | { readonly data: Uint8Array; readonly lost?: LostBlocks }
  | { readonly bad: BadValue }
  | { readonly hugeBlock: number }

/** Bytes that a task's result has. */
export function resultBytes(run: Run, { dtype }: Target): number {
  const { blockBytes } = DTYPES[dtype]
  return (isBlockDType(dtype) ? runBlocks(run, dtype) : run.elements) * blockBytes
}

/** Whether the result takes the front of its source's memory. */
export function isInPlace({ run, to: { dtype }, mayOverwrite }: Task): boolean {
  return mayOverwrite && isBlockDType(dtype) && fitsInPlace(run, dtype)
}

/**
 * @param spare memory of at least `resultBytes` for a result that may not overwrite its source
 * @param witness sees what becomes blocks
 */
export function performTask(task: Task, kernel: Kernel, spare?: Uint8Array, witness?: Witness): TaskResult {
  const { run, to } = task
  const size = resultBytes(run, to)
  const data = isInPlace(task) ? run.data.subarray(0, size) : (spare?.subarray(0, size) ?? new Uint8Array(size))
  if (!isBlockDType(to.dtype)) {
    const bad = convertRun(run, to, kernel, data)
    return bad ? { bad } : { data }
  }
  const found = quantizeRun(run, to, kernel, data, witness)
  if ('bad' in found) return found
  // Scales are stored in half precision, which ends at 65504: the references then write an infinite one, and the refined fit the greatest.
  const hugeBlock = to.fit === 'refined' ? cutScale(to.dtype, data) : nonFiniteScale(to.dtype, data)
  if (hugeBlock !== undefined) return { hugeBlock }
  return found.lost.blocks === 0 ? { data } : { data, lost: found.lost }
}
