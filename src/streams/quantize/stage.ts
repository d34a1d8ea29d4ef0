/** The stage that quantizes: records become runs, threads fit them, and what was made goes on in the order it came. */
import { Transform } from 'streamx'
import { elementCount, type TensorInfo } from '../../model/tensor.js'
import type { TensorRecord } from '../../model/record.js'
import type { Model } from '../../model/model.js'
import { sumLost, type LostBlocks, type Run, type Target } from '../../quant/runs/run.js'
import { resultBytes, type TaskResult } from '../../quant/runs/task.js'
import { lend, release, takeOver } from '../../records/buffers.js'
import { RecordRuns, type RecordRun } from '../../records/record-runs.js'
import { resultError } from '../../records/result-error.js'
import { LocalExecutor, type Executor } from '../../threads/executor.js'
import { QUANTIZE_BYTES_PER_THREAD } from '../../options/table.js'
import { Intake, oncePerModel } from '../changed-model.js'
import { transformFace, type TensorTransform } from '../face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from '../streamx.js'
import { searchElements, type MatrixImportance, type Quantization, type TensorTarget } from './quantization.js'

/** What a job asks of the stage beside its stream. */
export interface StageHooks {
  /** Says of a tensor that what it becomes is written already: its records go no further. */
  readonly isThere?: (tensor: TensorInfo) => boolean
  /** Told at the end of a tensor some of whose blocks lost their values. */
  readonly onLost?: (to: TensorInfo, lost: LostBlocks) => void
}

/**
 * The stream of a quantization, which may be asked for its plan as well.
 * @param open called with the first record
 */
export function quantizeStage(
  open: () => Quantization | Promise<Quantization>,
  hooks: StageHooks = {},
): TensorTransform {
  return transformFace(new QuantizeStage(open, hooks))
}

/** A record on its way: what it becomes, and the memory it holds until then. */
interface Pending {
  readonly record: Promise<TensorRecord>
  readonly bytes: number
}

/** What is there from the first record on. */
interface Work {
  readonly quantization: Quantization
  readonly intake: Intake
  readonly executor: Executor
  readonly prepare: (model: Model) => void
}

class QuantizeStage extends Transform {
  readonly #open: () => Quantization | Promise<Quantization>
  readonly #hooks: StageHooks
  #work: Work | undefined
  /** In the order of the input, which is that of the output, whichever is done first. */
  readonly #pending: Pending[] = []
  #pendingBytes = 0
  readonly #runs = new RecordRuns()
  readonly #lost = new Map<TensorInfo, LostBlocks>()

  constructor(open: () => Quantization | Promise<Quantization>, hooks: StageHooks) {
    super({ highWaterMark: QUEUE_BYTES, byteLength: recordBytes })
    this.#open = open
    this.#hooks = hooks
  }

  override _transform(value: unknown, done: (error: Error | null, record?: unknown) => void): void {
    bridge(async () => {
      const record = checkIsRecord(value)
      const { quantization, intake, executor, prepare } = (this.#work ??= workOf(await this.#open()))
      const model = intake.take(record)
      prepare(record.model)
      const target = quantization.targetOf(record, record.model)
      if (this.#hooks.isThere?.(record)) {
        release(record.data)
        return
      }
      for (const pending of this.#convert(record, target, model)) {
        // A failure is reported when the record's turn comes.
        pending.record.catch(() => undefined)
        this.#pending.push(pending)
        this.#pendingBytes += pending.bytes
      }
      // One record a thread is always under way.
      const { threads } = executor
      const highWaterMark = quantization.highWaterMark ?? threads * QUANTIZE_BYTES_PER_THREAD
      while (this.#pendingBytes > highWaterMark && this.#pending.length > threads) {
        await this.#deliver()
      }
    }, done)
  }

  override _flush(done: Done): void {
    bridge(async () => {
      this.#work?.intake.end()
      while (this.#pending.length > 0) await this.#deliver()
      this.#runs.checkComplete()
      for (const [to, lost] of this.#lost) this.#hooks.onLost?.(to, lost)
    }, done)
  }

  override _destroy(done: Done): void {
    bridge(async () => {
      await this.#work?.executor.close()
      await Promise.allSettled(this.#pending.map(({ record }) => record))
      await this.#work?.quantization.close?.()
    }, done)
  }

  async #deliver(): Promise<void> {
    const next = this.#pending.shift()
    if (next === undefined) return
    this.push(await next.record)
    this.#pendingBytes -= next.bytes
  }

  /** What becomes of a record: one, or as many as it has runs, or none where it has no whole block yet. */
  #convert(record: TensorRecord, { to, conversion }: TensorTarget, model: Model): Pending[] {
    if (!conversion) return [{ record: Promise.resolve({ ...record, ...to, model }), bytes: record.data.length }]
    const data = takeOver(record)
    const { fit, isLenient = false, importance } = conversion
    const target = { dtype: to.dtype, fit, isLenient } as Target
    const runs = this.#runs.of(record, data, { dtype: to.dtype, isWeighted: importance !== undefined })
    // A run that is alone in the record's memory takes it with it. Others share it, and it is free when they are done.
    const isAlone = runs.length === 1 && runs[0]?.run.data.buffer === data.buffer
    const pending = runs.map((part): Pending => {
      // Counted first: what is moved to a thread has no length any more.
      const bytes = Math.max(part.run.data.length, resultBytes(part.run, target))
      const memory = isAlone ? data : part.run.data
      const result = importance
        ? withImportance(part, record, importance).then((run) => this.#perform(run, target, memory, record.name))
        : this.#perform(part.run, target, memory, record.name)
      return { record: result.then((found) => this.#toRecord(found, record, to, part, model)), bytes }
    })
    if (!isAlone) void Promise.allSettled(pending.map((part) => part.record)).then(() => release(data))
    return pending
  }

  async #perform(run: Run, to: Target, data: Uint8Array, tensor: string): Promise<TaskResult> {
    const { executor } = this.#work ?? {}
    if (!executor) throw new Error('the stage is not open')
    return await executor.perform({ run, to, data, tensor })
  }

  /** @throws AprError `APR_BAD_VALUE` */
  #toRecord(
    result: TaskResult,
    record: TensorRecord,
    to: TensorInfo,
    { first, firstBlock, offset }: RecordRun,
    model: Model,
  ): TensorRecord {
    if ('data' in result) {
      if (result.lost) this.#lost.set(to, sumLost(this.#lost.get(to), result.lost))
      return { ...to, offset, data: lend(result.data), model }
    }
    const { quantization } = this.#work ?? {}
    throw resultError(result, record, to, { first, firstBlock }, (value) => quantization?.cure(value, to) ?? '')
  }
}

function workOf(quantization: Quantization): Work {
  const executor = new LocalExecutor(quantization.threads)
  return {
    quantization,
    intake: new Intake((model) => quantization.derive(model)),
    executor,
    prepare: oncePerModel((model) => executor.prepare(searchElements(quantization, model))),
  }
}

/** A run with the rows of the importance matrix that its elements' matrices have. */
async function withImportance(
  { run, first }: RecordRun,
  { shape }: TensorInfo,
  importance: MatrixImportance,
): Promise<Run> {
  const matrixElements = Math.max(1, elementCount(shape.slice(-2)))
  const matrix = Math.floor(first / matrixElements)
  const end = Math.ceil((first + run.elements) / matrixElements)
  const values = await importance.read(matrix, end - matrix)
  return { ...run, importance: { values, matrixElements, inMatrix: first - matrix * matrixElements } }
}
