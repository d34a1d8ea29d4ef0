import { Transform } from 'streamx'
import { AprError } from '../model/errors.js'
import { decide } from '../quant/policy.js'
import { Q4K_BLOCK_BYTES } from '../quant/q4k-block.js'
import { aprQ8Scale, isFloat, type Run } from '../quant/run.js'
import { APR_Q8_HEAD_BYTES, blockElement, type AprModel, type TensorInfo, type TensorRecord } from '../model/tensor.js'
import type { TaskResult } from '../quant/task.js'
import { takeOver } from './buffers.js'
import { pieceElements, type PieceElements } from './cut-tensor.js'
import { oncePerModel } from './changed-model.js'
import { Executor } from './executor.js'
import { checkOptionNames } from './options.js'
import {
  checkQ4KOptions,
  convertedElements,
  Q4K_OPTIONS,
  quantizeModel,
  type Q4KOptions,
  type Quantized,
} from './quantize-model.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done, type TensorTransform } from './streamx.js'

/** Enough that a thread has its next record when it has done one. */
const BYTES_PER_THREAD = 4 * 1024 * 1024

/**
 * Quantizes tensors to Q4_K, record by record; the others pass, as the dtype that `kept` says.
 *
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error `APR_BAD_VALUE` for NaN and infinity in a tensor
 *   that is to be quantized, `APR_BAD_RECORD` for a record that starts or ends inside a super-block
 */
export function q4k(options: Q4KOptions = {}): TensorTransform {
  checkOptionNames(options, Q4K_OPTIONS)
  return quantizeStage(options)
}

/** The same, for options that are a whole job's. */
export function quantizeStage(options: Q4KOptions): TensorTransform {
  return new Q4KStage(checkQ4KOptions(options)) as unknown as TensorTransform
}

/** A record on its way: what it becomes, and the memory it holds until then. */
interface Pending {
  readonly record: Promise<TensorRecord>
  readonly bytes: number
}

class Q4KStage extends Transform {
  readonly #options: Q4KOptions
  readonly #quantized: (model: AprModel) => Quantized
  readonly #executor: Executor
  /** In the order of the input, which is that of the output, whichever is done first. */
  readonly #pending: Pending[] = []
  #pendingBytes = 0
  /** Scales of the APR_Q8 tensors that are under way: only a tensor's first record holds its scale. */
  readonly #scales = new Map<string, number>()

  constructor(options: Q4KOptions) {
    super({ highWaterMark: QUEUE_BYTES, byteLength: recordBytes })
    this.#options = options
    this.#quantized = oncePerModel((model) => {
      const quantized = quantizeModel(model, options)
      this.#executor.prepare(convertedElements([...quantized.decisions.values()]), options.fit ?? 'search')
      return quantized
    })
    this.#executor = new Executor(options.threads)
  }

  override _transform(value: unknown, done: (error: Error | null, record?: unknown) => void): void {
    bridge(async () => {
      const record = checkIsRecord(value)
      const { model, to } = this.#decide(record)
      // Rows much narrower than a super-block become larger.
      const bytes = record.data.length * Math.max(1, to.size / Math.max(1, record.size))
      const converted = this.#convert(record, to, model)
      // A failure is reported when the record's turn comes.
      converted.catch(() => undefined)
      this.#pending.push({ record: converted, bytes })
      this.#pendingBytes += bytes
      // One record a thread is always under way.
      const { threads } = this.#executor
      const highWaterMark = this.#options.highWaterMark ?? threads * BYTES_PER_THREAD
      while (this.#pendingBytes > highWaterMark && this.#pending.length > threads) {
        await this.#deliver()
      }
    }, done)
  }

  override _flush(done: Done): void {
    bridge(async () => {
      while (this.#pending.length > 0) await this.#deliver()
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

  /** What becomes of a record's tensor, and the model from here on. */
  #decide(record: TensorRecord): { to: TensorInfo; model: AprModel } {
    const { model, decisions } = this.#quantized(record.model)
    const announced = decisions.get(record.name)
    // A stage before this one may have changed a tensor without changing the model.
    const { to } = announced && isSameTensor(announced.from, record) ? announced : decide(record, this.#options)
    return { to, model }
  }

  async #convert(record: TensorRecord, to: TensorInfo, model: AprModel): Promise<TensorRecord> {
    if (to.dtype === record.dtype) return { ...record, model }
    const piece = checkPiece(record)
    const source = takeOver(record.data)
    const { fit = 'search' } = this.#options
    const isQuantized = to.dtype === 'Q4_K'
    const run = this.#run(record, source, piece)
    const result = await this.#executor.perform(run, isQuantized ? fit : undefined, source, record.name)
    const data = checkResult(result, record, to, piece)
    const offset = isQuantized ? piece.firstBlock * Q4K_BLOCK_BYTES : piece.first * 4
    return { ...to, offset, data, model }
  }

  #run({ name, dtype, offset }: TensorRecord, data: Uint8Array, { elements, rowElements }: PieceElements): Run {
    if (!isFloat(dtype)) throw new Error(`${dtype} cannot be read as numbers`)
    if (dtype !== 'APR_Q8') return { dtype, data, elements, rowElements }
    if (offset === 0) this.#scales.set(name, aprQ8Scale(data))
    const scale = this.#scales.get(name)
    if (scale === undefined) {
      throw new AprError('APR_BAD_RECORD', `expected the tensor's bytes from 0 on, found those from ${offset} on`, {
        tensor: name,
      })
    }
    return { dtype, data: offset === 0 ? data.subarray(APR_Q8_HEAD_BYTES) : data, elements, rowElements, scale }
  }
}

function isSameTensor(a: TensorInfo, b: TensorInfo): boolean {
  return a.dtype === b.dtype && a.size === b.size && (a.shape === b.shape || a.shape.join() === b.shape.join())
}

function checkPiece(record: TensorRecord): PieceElements {
  const piece = pieceElements(record, { offset: record.offset, size: record.data.length })
  if (piece) return piece
  throw new AprError(
    'APR_BAD_RECORD',
    `expected a record of whole rows, or of multiples of 256 elements inside a row, found bytes ${record.offset} to ${record.offset + record.data.length} of ${record.dtype} [${record.shape.join(', ')}]`,
    { tensor: record.name },
  )
}

/** @throws AprError `APR_BAD_VALUE` */
function checkResult(result: TaskResult, record: TensorRecord, to: TensorInfo, piece: PieceElements): Uint8Array {
  if ('data' in result) return result.data
  const tensor = record.name
  if ('hugeBlock' in result) {
    const element = blockElement(record.shape, piece.firstBlock + result.hugeBlock)
    const what = `expected numbers up to about 4e6, found larger ones in a super-block, whose scale ${to.dtype} cannot hold; ${ADVICE}`
    throw new AprError('APR_BAD_VALUE', what, { tensor, element })
  }
  const { element, value } = result.bad
  const expected = Number.isFinite(value) ? `numbers that ${to.dtype} can hold` : 'finite numbers'
  const place = { tensor, element: piece.first + element, value }
  throw new AprError('APR_BAD_VALUE', `expected ${expected}, found ${value}; ${ADVICE}`, place)
}

const ADVICE = 'to keep the tensor as it is, exclude it from quantization (select, --skip)'
