import { dirname, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AprError } from './errors.js'
import { peakMemoryBytes, type Mode, type ModeOptions } from './mode.js'
import { freeBytes, planModel } from './plan.js'
import type { Reason } from './quant/policy.js'
import type { ByteSource } from './source.js'
import { checkFunction } from './streams/options.js'
import { checkQ4KOptions, q4k, type Q4KOptions } from './streams/q4k.js'
import { checkReaderOptions, openInput, readOpened, type OpenInput, type ReaderOptions } from './streams/reader.js'
import { tapRecords } from './streams/stages.js'
import type { TensorTransform } from './streams/streamx.js'
import { collect, writeWhole } from './streams/whole.js'
import { aprWriter } from './streams/writer.js'
import type { TensorRecord } from './tensor.js'

export interface QuantizeOptions extends Q4KOptions, ReaderOptions, ModeOptions {
  /** Replace an existing output. Default false: an existing output is an error. */
  overwrite?: boolean
  /** Refuse to start where the disk has less room than the output takes. Default true. */
  spaceCheck?: boolean
  /** Called as the job goes on, once a record. What it throws ends the job. */
  onProgress?: (progress: Progress) => void
  /** Ends the job; the promise rejects with the signal's reason as cause. */
  signal?: AbortSignal
}

export interface Progress {
  /** Bytes of tensor data read so far, and in all. */
  readonly bytes: number
  readonly totalBytes: number
  /** Tensors read so far in full, and in all. */
  readonly tensors: number
  readonly totalTensors: number
  /** The tensor that is being read. */
  readonly tensor: string
}

export interface QuantizeReport {
  readonly input: string
  readonly output: string
  readonly mode: Mode
  /** Sizes of the files. */
  readonly inputBytes: number
  readonly outputBytes: number
  /** `inputBytes / outputBytes`. */
  readonly ratio: number
  /** Numbers of tensors. */
  readonly tensors: number
  readonly quantized: number
  readonly kept: number
  /** How many tensors were quantized or kept for which reason. */
  readonly reasons: Partial<Record<Reason, number>>
  readonly warnings: readonly string[]
  readonly seconds: number
  /** Peak resident memory of the whole process so far. */
  readonly peakMemoryBytes: number
}

/**
 * Quantizes a file to a file: the pipeline of reader, q4k and writer in one call, with a report. The output appears
 * whole or not at all, and the promise settles when everything is closed.
 *
 * @param input a path, or a ByteSource, which is closed at the end
 * @throws AprError `APR_BAD_OPTION`, `APR_NO_SPACE`, and the errors of the three stages
 * @throws an `AbortError` when `signal` ends the job
 */
export async function quantize(
  input: string | ByteSource,
  output: string,
  options: QuantizeOptions = {},
): Promise<QuantizeReport> {
  const started = performance.now()
  checkQ4KOptions(options)
  checkReaderOptions(options)
  if (options.onProgress !== undefined) checkFunction('onProgress', options.onProgress)
  options.signal?.throwIfAborted()

  const opened = await openInput(input)
  let planned
  try {
    planned = planModel(opened.open.model, opened.source, options)
    if (options.spaceCheck !== false) await checkSpace(output, planned.outputBytes)
  } catch (error) {
    await opened.source.close()
    throw error
  }
  const job = { opened, output, options, tap: tapRecords(reporter(planned, options.onProgress)) }
  await (planned.mode === 'stream' ? quantizeStreaming(job) : quantizeInMemory(job))

  const { inputBytes, outputBytes, ratio, tensors, quantized, kept, warnings, mode, decisions } = planned
  const reasons: Partial<Record<Reason, number>> = {}
  for (const { reason } of decisions) reasons[reason] = (reasons[reason] ?? 0) + 1
  return {
    input: opened.source.name,
    output,
    mode,
    inputBytes,
    outputBytes,
    ratio,
    tensors,
    quantized,
    kept,
    reasons,
    warnings,
    seconds: (performance.now() - started) / 1000,
    peakMemoryBytes: await peakMemoryBytes(),
  }
}

/** Sets the two modes to work: what they need, once everything was checked that can be without reading a tensor. */
interface Job {
  readonly opened: OpenInput
  readonly output: string
  readonly options: QuantizeOptions
  /** Counts what was read. */
  readonly tap: TensorTransform
}

/** In constant memory, whatever the size of the model. */
async function quantizeStreaming({ opened, output, options, tap }: Job): Promise<void> {
  await run([readOpened(opened, options), tap, q4k(options), aprWriter(output, options)], options.signal)
}

/** All in memory: everything is read, then everything is quantized, then the file is written from front to back. */
async function quantizeInMemory({ opened, output, options, tap }: Job): Promise<void> {
  const { signal } = options
  const source: TensorRecord[] = []
  await run([readOpened(opened, options), tap, collect(source)], signal)
  const quantized: TensorRecord[] = []
  await run([Readable.from(taken(source)), q4k(options), collect(quantized)], signal)
  await writeWhole(output, quantized, options.overwrite ?? false, signal)
}

/** The records one after the other, each let go of when the next is asked for. */
function* taken(records: TensorRecord[]): Generator<TensorRecord> {
  records.reverse()
  for (let record = records.pop(); record !== undefined; record = records.pop()) yield record
}

/** Runs a pipeline to its end and waits until every stage is closed, also when one failed. */
async function run(
  stages: readonly { once(event: 'close', listener: () => void): unknown }[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const closed = stages.map((stage) => new Promise<void>((done) => stage.once('close', done)))
  try {
    await pipeline(stages as unknown as NodeJS.ReadWriteStream[], { ...(signal && { signal }) })
  } finally {
    await Promise.all(closed)
  }
}

/** @throws AprError `APR_NO_SPACE` with both numbers */
async function checkSpace(output: string, needed: number): Promise<void> {
  const free = await freeBytes(dirname(resolve(output)))
  if (free < needed) {
    throw new AprError('APR_NO_SPACE', `expected ${needed} bytes free on the output's disk, found ${free}`, {
      file: output,
    })
  }
}

function reporter(
  { tensors, decisions }: { tensors: number; decisions: readonly { inputBytes: number }[] },
  onProgress: QuantizeOptions['onProgress'],
): (record: TensorRecord) => void {
  if (onProgress === undefined) return () => undefined
  const totalBytes = decisions.reduce((sum, { inputBytes }) => sum + inputBytes, 0)
  let bytes = 0
  let done = 0
  return ({ name, offset, data, size }) => {
    bytes += data.length
    if (offset + data.length === size) done++
    onProgress({ bytes, totalBytes, tensors: done, totalTensors: tensors, tensor: name })
  }
}
