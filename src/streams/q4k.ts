import { Transform } from 'streamx'
import { AprError } from '../model/errors.js'
import { blockElement, type TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import type { Model } from '../model/model.js'
import { resultBytes, type TaskResult } from '../quant/task.js'
import { lend, release, takeOver } from '../records/buffers.js'
import { Intake, oncePerModel } from './changed-model.js'
import { LocalExecutor, type Executor } from '../threads/executor.js'
import { checkOptions } from '../options/check.js'
import { Q4K_BYTES_PER_THREAD, Q4K_OPTIONS } from '../options/table.js'
import { convertedElements, Quantization, type Q4KOptions } from './quantization.js'
import { RecordRuns, type RecordRun } from '../records/record-runs.js'
import { transformFace, type TensorTransform } from './face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from './streamx.js'

/**
 * Quantizes tensors to Q4_K, record by record; the others pass, as the dtype that `kept` says.
 *
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error `APR_BAD_VALUE` for NaN and infinity in a tensor
 *   that is to be quantized, `APR_BAD_RECORD` for records of one tensor with a gap between them inside a super-block,
 *   `APR_BAD_OPTION` when `select` returns anything but true or false
 */
export function q4k(options: Q4KOptions = {}): TensorTransform {
  return quantizeStage(new Quantization(checkOptions(options, Q4K_OPTIONS)))
}

/**
 * The stream of a quantization, which may be asked for its plan as well.
 * @param isThere says of a tensor that what it becomes is written already: its records go no further
 */
export function quantizeStage(quantization: Quantization, isThere?: (tensor: TensorInfo) => boolean): TensorTransform {
  return transformFace(new Q4KStage(quantization, isThere))
}

/** A record on its way: what it becomes, and the memory it holds until then. */
interface Pending {
  readonly record: Promise<TensorRecord>
  readonly bytes: number
}

class Q4KStage extends Transform {
  readonly #quantization: Quantization
  readonly #isThere: (tensor: TensorInfo) => boolean
  readonly #intake: Intake
  readonly #prepare: (model: Model) => void
  readonly #executor: Executor
  /** In the order of the input, which is that of the output, whichever is done first. */
  readonly #pending: Pending[] = []
  #pendingBytes = 0
  readonly #runs = new RecordRuns()

  constructor(quantization: Quantization, isThere: (tensor: TensorInfo) => boolean = () => false) {
    super({ highWaterMark: QUEUE_BYTES, byteLength: recordBytes })
    const { options } = quantization
    this.#quantization = quantization
    this.#isThere = isThere
    this.#intake = new Intake((model) => quantization.derive(model))
    const executor = new LocalExecutor(options.threads)
    this.#executor = executor
    this.#prepare = oncePerModel((model) => {
      executor.prepare(convertedElements([...quantization.of(model).decisions.values()]), options.fit)
    })
  }

  override _transform(value: unknown, done: (error: Error | null, record?: unknown) => void): void {
    bridge(async () => {
      const record = checkIsRecord(value)
      const model = this.#intake.take(record)
      this.#prepare(record.model)
      const to = this.#quantization.tensorOf(record, record.model)
      if (this.#isThere(record)) {
        release(record.data)
        return
      }
      for (const pending of this.#convert(record, to, model)) {
        // A failure is reported when the record's turn comes.
        pending.record.catch(() => undefined)
        this.#pending.push(pending)
        this.#pendingBytes += pending.bytes
      }
      // One record a thread is always under way.
      const { threads } = this.#executor
      const highWaterMark = this.#quantization.options.highWaterMark ?? threads * Q4K_BYTES_PER_THREAD
      while (this.#pendingBytes > highWaterMark && this.#pending.length > threads) {
        await this.#deliver()
      }
    }, done)
  }

  override _flush(done: Done): void {
    bridge(async () => {
      this.#intake.end()
      while (this.#pending.length > 0) await this.#deliver()
      this.#runs.checkComplete()
    }, done)
  }

  override _destroy(done: Done): void {
    bridge(async () => {
      await this.#executor.close()
      await Promise.allSettled(this.#pending.map(({ record }) => record))
    }, done)
  }

  async #deliver(): Promise<void> {
    const next = this.#pending.shift()
    if (next === undefined) return
    this.push(await next.record)
    this.#pendingBytes -= next.bytes
  }

  /** What becomes of a record: one, or as many as it has runs, or none where it has no whole super-block yet. */
  #convert(record: TensorRecord, to: TensorInfo, model: Model): Pending[] {
    if (to.dtype === record.dtype) {
      return [{ record: Promise.resolve({ ...record, model }), bytes: record.data.length }]
    }
    const data = takeOver(record)
    const runs = this.#runs.of(record, data, to)
    // A run that is alone in the record's memory takes it with it. Others share it, and it is free when they are done.
    const isAlone = runs.length === 1 && runs[0]?.run.data.buffer === data.buffer
    const fit = to.dtype === 'Q4_K' ? this.#quantization.options.fit : undefined
    const pending = runs.map((part): Pending => {
      // Counted first: what is moved to a thread has no length any more.
      const bytes = Math.max(part.run.data.length, resultBytes(part.run, fit))
      const result = this.#executor.perform({
        run: part.run,
        fit,
        data: isAlone ? data : part.run.data,
        tensor: record.name,
      })
      return { record: result.then((found) => toRecord(found, record, to, part, model)), bytes }
    })
    if (!isAlone) void Promise.allSettled(pending.map((part) => part.record)).then(() => release(data))
    return pending
  }
}

/** @throws AprError `APR_BAD_VALUE` */
function toRecord(
  result: TaskResult,
  record: TensorRecord,
  to: TensorInfo,
  { first, firstBlock, offset }: RecordRun,
  model: Model,
): TensorRecord {
  if ('data' in result) return { ...to, offset, data: lend(result.data), model }
  const tensor = record.name
  if ('hugeBlock' in result) {
    const element = blockElement(record.shape, firstBlock + result.hugeBlock)
    const what = `expected numbers up to about 4e6, found larger ones in a super-block, whose scale ${to.dtype} cannot hold; ${LEAVE_OUT}`
    throw new AprError('APR_BAD_VALUE', what, { tensor, element })
  }
  const { element, value } = result.bad
  const expected = Number.isFinite(value) ? `numbers that ${to.dtype} can hold` : 'finite numbers'
  const place = { tensor, element: first + element, value }
  throw new AprError('APR_BAD_VALUE', `expected ${expected}, found ${value}; ${cure(value, to)}`, place)
}

const LEAVE_OUT = 'leave the tensor out with `select`'

/** What helps. A tensor that is left out becomes F32, unless told otherwise: no help where F32 cannot hold the value. */
function cure(value: number, to: TensorInfo): string {
  if (!Number.isFinite(value)) return LEAVE_OUT
  const keep = "keep its dtype with `kept: 'same'`"
  return to.dtype === 'Q4_K' ? `${LEAVE_OUT}, and ${keep}` : keep
}
