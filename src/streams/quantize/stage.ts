/** The stage that quantizes: records become runs, threads fit them, and what was made goes on in the order it came. */
import { Transform } from 'streamx'
import type { TensorInfo } from '../../model/tensor.js'
import type { TensorRecord } from '../../model/record.js'
import type { Model } from '../../model/model.js'
import { isDecodable } from '../../quant/decode.js'
import { sumLost, type LostBlocks, type RunImportance, type Target } from '../../quant/runs/run.js'
import { resultBytes } from '../../quant/runs/task.js'
import { rowsOfTensor, type Tally } from '../../quality/tally.js'
import { lend, release, takeOver } from '../../records/buffers.js'
import { RecordRuns, type RecordRun } from '../../records/record-runs.js'
import { RecordSlices } from '../../records/record-slice.js'
import { resultError } from '../../records/result-error.js'
import { LocalExecutor, type Executor } from '../../threads/executor.js'
import { QUANTIZE_BYTES_PER_THREAD } from '../../options/table.js'
import { Intake, oncePerModel } from '../changed-model.js'
import { transformFace, type TensorTransform } from '../face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from '../streamx.js'
import type { ConvertResult } from '../../threads/tasks.js'
import {
  matrixRun,
  searchElements,
  type MatrixImportance,
  type Quantization,
  type TensorTarget,
} from './quantization.js'

/** What a job asks of the stage beside its stream. */
export interface StageHooks {
  /** Says of a tensor that what it becomes is written already: its records go no further. */
  readonly isThere?: (tensor: TensorInfo) => boolean
  /** Told at the end of a tensor some of whose blocks lost their values. */
  readonly onLost?: (to: TensorInfo, lost: LostBlocks) => void
  /**
   * Wanted figures of error: told of each part of a tensor how far what it becomes is from what it was, also of tensors that
   * are there already.
   */
  readonly onTally?: ((figures: TalliedPart) => void) | undefined
}

/** Figures of a part of a tensor. */
export interface TalliedPart {
  readonly from: TensorInfo
  readonly tally: Tally
  readonly isWeighted: boolean
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
  /** Undefined where it was made for its figures alone. */
  readonly record: Promise<TensorRecord | undefined>
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
  readonly #slices = new RecordSlices()
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
      if (!this.#hooks.onTally && this.#hooks.isThere?.(record)) {
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
    const record = await next.record
    if (record) this.push(record)
    this.#pendingBytes -= next.bytes
  }

  /** What becomes of a record: one, or as many as it has runs, or none where it has no whole block yet. */
  #convert(record: TensorRecord, { to, conversion, counts }: TensorTarget, model: Model): Pending[] {
    const isThere = this.#hooks.isThere?.(record) ?? false
    if (!conversion) {
      const kept = isThere ? undefined : { ...record, ...to, model }
      const measured = this.#hooks.onTally ? this.#measure(record, counts) : Promise.resolve()
      return [{ record: measured.then(() => kept), bytes: record.data.length }]
    }
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
      const result = this.#perform(part, record, target, memory, { importance, counts })
      return {
        record: result.then((found) => {
          const made = this.#toRecord(found, record, to, part, model)
          if (isThere) release(made.data)
          return isThere ? undefined : made
        }),
        bytes,
      }
    })
    if (!isAlone) void Promise.allSettled(pending.map((part) => part.record)).then(() => release(data))
    return pending
  }

  async #perform(
    { run: plain, first }: RecordRun,
    record: TensorRecord,
    to: Target,
    data: Uint8Array,
    { importance, counts }: { importance: MatrixImportance | undefined; counts: TensorTarget['counts'] },
  ): Promise<ConvertResult> {
    const { executor } = this.#work ?? {}
    if (!executor) throw new Error('the stage is not open')
    const { name: tensor } = record
    const { onTally } = this.#hooks
    const { elements } = plain
    const rows = importance && (await matrixRun(importance, record, first, elements))
    const run = rows ? { ...plain, importance: rows } : plain
    if (!onTally) return await executor.perform({ run, to, data, tensor })
    const measuredBy = rows ?? (await countsRun(counts, record, first, elements))
    const place = { first, rows: rowsOfTensor(record), importance: measuredBy }
    const result = await executor.perform({ run, to, data, tensor, place })
    if (result.tally) onTally({ from: record, tally: result.tally, isWeighted: measuredBy !== undefined })
    return result
  }

  /** What passes as it is has no error, but weights as any other. */
  async #measure(record: TensorRecord, counts: TensorTarget['counts']): Promise<void> {
    const { executor } = this.#work ?? {}
    const { onTally } = this.#hooks
    if (!executor || !onTally || !isDecodable(record.dtype) || record.data.length === 0) return
    // A view of its own: the record keeps its memory.
    const { first, elements, slice } = this.#slices.of(record, record.data.subarray())
    const importance = await countsRun(counts, record, first, elements)
    const pairs = { first, elements, rows: rowsOfTensor(record), a: slice, b: slice, importance }
    const tally = await executor.compare(pairs, record.name)
    onTally({ from: record, tally, isWeighted: importance !== undefined })
  }

  /** @throws AprError `APR_BAD_VALUE` */
  #toRecord(
    result: ConvertResult,
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

async function countsRun(
  counts: TensorTarget['counts'],
  record: TensorRecord,
  first: number,
  elements: number,
): Promise<RunImportance | undefined> {
  const matrix = counts?.()
  return matrix && (await matrixRun(matrix, record, first, elements))
}
