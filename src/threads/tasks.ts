/** What a thread is asked to do, and who does it: this thread or another. Tasks and results are plain data. */
import { DTYPES } from '../model/dtypes.js'
import { createSimdKernel } from '../quant/simd.js'
import type { Kernel } from '../quant/kernel.js'
import { isBlockDType, type RunImportance } from '../quant/runs/run.js'
import { performTask, type Task, type TaskResult } from '../quant/runs/task.js'
import { Meter } from '../quality/meter.js'
import { meterWitness, tallyPairs, type Pairs } from '../quality/pairs.js'
import type { Rows, Tally } from '../quality/tally.js'

/** Where a run stands in its tensor, for figures of what becomes of it. */
export interface RunPlace {
  /** Of its first element, counted from the tensor's. */
  readonly first: number
  readonly rows: Rows
  /** What errors count in the figures. */
  readonly importance?: RunImportance | undefined
}

/** A run that becomes another. */
export interface ConvertTask extends Task {
  /** Undefined: no figures are wanted. */
  readonly place?: RunPlace | undefined
}

export type ConvertResult = TaskResult & { readonly tally?: Tally }

/** Pairs that are compared. */
export interface PairsTask {
  readonly pairs: Pairs
}

/** The figures, and the memory of the two sides back. */
export interface PairsResult {
  readonly tally: Tally
  readonly a: Uint8Array
  readonly b: Uint8Array
}

export type ThreadTask = ConvertTask | PairsTask
export type ThreadResult = ConvertResult | PairsResult

/** Does tasks, one after the other. */
export class Performer {
  readonly #module: WebAssembly.Module | undefined
  #kernel: Kernel | undefined
  #meter: Meter | undefined

  /** @param module the compiled kernel, where another thread has it already */
  constructor(module?: WebAssembly.Module) {
    this.#module = module
  }

  perform(task: ThreadTask): ThreadResult {
    return 'pairs' in task ? this.compare(task) : this.convert(task)
  }

  /** @param spare as `performTask` takes it */
  convert(task: ConvertTask, spare?: Uint8Array): ConvertResult {
    this.#kernel ??= createSimdKernel(this.#module)
    const { to, place } = task
    if (!place) return performTask(task, this.#kernel, spare)
    const meter = (this.#meter ??= new Meter())
    if (!isBlockDType(to.dtype)) {
      const result = performTask(task, this.#kernel, spare)
      return 'data' in result ? { ...result, tally: compareConverted(meter, task, place, result.data) } : result
    }
    const witness = meterWitness(meter, to.dtype, place)
    const result = performTask(task, this.#kernel, spare, witness)
    const tally = meter.end()
    return 'data' in result ? { ...result, tally } : result
  }

  compare({ pairs }: PairsTask): PairsResult {
    this.#meter ??= new Meter()
    return { tally: tallyPairs(this.#meter, pairs), a: pairs.a.data, b: pairs.b.data }
  }
}

/** Numbers that became numbers: both stand there, one after the other. */
function compareConverted(
  meter: Meter,
  { run, to }: ConvertTask,
  { first, rows, importance }: RunPlace,
  data: Uint8Array,
): Tally {
  const { dtype, start = 0, elements, scale } = run
  const { blockElements } = DTYPES[dtype]
  // A run may start inside its first block.
  const a = { dtype, data: run.data, firstBlock: (first - start) / blockElements, scale }
  return tallyPairs(meter, { first, elements, rows, a, b: { dtype: to.dtype, data, firstBlock: first }, importance })
}
