import { createHash } from 'node:crypto'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { abortError, AprError } from '../model/errors.js'
import { turn } from '../streams/event-loop.js'
import type { Layout, OpenedModel } from '../formats/format.js'
import { formatOf } from '../formats/formats.js'
import { checkMode, peakMemoryBytes } from './mode.js'
import type { Progress, QuantizeOptions, QuantizeReport } from './job.js'
import { freeBytes, planJob, type Plan } from './plan.js'
import { openToRead } from './input.js'
import type { ByteSource } from '../model/byte-source.js'
import type { Checked } from '../options/check.js'
import { QUANTIZE_OPTIONS } from '../options/table.js'
import { quantizeStage } from '../streams/q4k.js'
import { Quantization } from '../streams/quantization.js'
import { openModel } from '../streams/open-input.js'
import { readOpened } from '../streams/reader.js'
import { Output, partialBytes } from '../files/output.js'
import type { PhaseProgress } from '../files/output-options.js'
import { findPlace, outputPath, type OutputPlace } from '../files/output-place.js'
import { toPath, type FilePath } from '../files/path.js'
import { tapRecords } from '../streams/stage.js'
import type { TensorTransform } from '../streams/face.js'
import { collect, writeWhole } from './write-in-memory.js'
import { writeOpened } from '../streams/writer.js'
import { observed } from './observe.js'
import type { Model } from '../model/model.js'
import type { TensorRecord } from '../model/record.js'
import { VERSION } from '../version.js'
import { refuseWarnings } from './warnings.js'

type CheckedOptions = Checked<QuantizeOptions, typeof QUANTIZE_OPTIONS>

/**
 * Quantizes a file to a file: the pipeline of reader, q4k and writer in one call, with a report. The output appears
 * whole or not at all, and the promise settles when everything is closed.
 *
 * @param input a path, a `file:` URL, or a ByteSource, which is closed once, whatever happens
 * @param output a path, or a `file:` URL
 * @throws AprError `APR_BAD_OPTION`, `APR_STRICT`, `APR_NO_SPACE`, and the errors of the three stages
 * @throws an `AbortError` when `signal` ends the job
 */
export async function quantize(
  input: string | URL | ByteSource,
  output: string | URL,
  options: QuantizeOptions = {},
): Promise<QuantizeReport> {
  return await observed(input, output, () => runJob(input, output, options))
}

async function runJob(
  input: string | URL | ByteSource,
  output: string | URL,
  options: QuantizeOptions,
): Promise<QuantizeReport> {
  const started = performance.now()
  let place = { given: '', absolute: '' }
  const { input: found, options: checked } = await openToRead(input, options, QUANTIZE_OPTIONS, (chosen) => {
    checkMode(chosen)
    const given = toPath('the output', output)
    place = { given, absolute: outputPath(given) }
  })

  const opened = await openModel(found)
  let job: Job
  try {
    job = await prepare(opened, place, checked)
  } catch (error) {
    await found.close()
    throw error
  }
  const { planned } = job
  try {
    await (planned.mode === 'stream' ? quantizeStreaming(job) : quantizeInMemory(job))
  } catch (error) {
    // What came too late to keep the output from its place is no failure.
    if (!job.target.isInPlace) {
      // What a stage finds wrong with a record is wrong in the input.
      throw error instanceof AprError ? error.at({ file: found.name }) : error
    }
  }

  const { input: name, inputBytes, outputBytes, ratio, tensors, quantized, kept, reasons, mode, warnings } = planned
  const summary = { inputBytes, outputBytes, ratio, tensors, quantized, kept, reasons, mode, warnings }
  return {
    input: name,
    output: place.given,
    ...summary,
    resumedTensors: job.target.resumed.size,
    restartReason: job.target.restartReason,
    seconds: (performance.now() - started) / 1000,
    peakMemoryBytes: await peakMemoryBytes(),
  }
}

/** What the two modes need, once everything was checked that can be without reading a tensor. */
interface Job {
  readonly opened: OpenedModel
  /** The locked output, with what is there of it already. */
  readonly target: Output
  readonly options: CheckedOptions
  readonly quantization: Quantization
  readonly planned: Planned
}

type Planned = Omit<Plan, 'freeBytes'>

async function prepare(opened: OpenedModel, output: FilePath, options: CheckedOptions): Promise<Job> {
  const { input, model } = opened
  // For a model of many tensors each of these takes milliseconds: the event loop turns in between.
  await turn()
  const quantization = new Quantization(options)
  const derived = quantization.derive(model)
  await turn()
  const planned = planJob(quantization, opened, options)
  await turn()
  if (options.strict) refuseWarnings(planned.warnings, input.name)
  const format = formatOf(derived)
  const place = await findPlace(output.absolute, format.nameInFolder)
  const { files } = format.layout(derived, place)
  if (options.spaceCheck) await checkSpace(place, files, planned.outputBytes, output.given)
  const { overwrite, resume, signal, onProgress } = options
  const onCheck = onProgress && ((done: PhaseProgress) => onProgress({ phase: 'checking', ...done }))
  const { origin } = model
  const job = planned.mode === 'stream' ? jobName(opened.version, derived, options) : undefined
  const isPart = format.isPart?.bind(format, place.name)
  const target = await Output.create(place, files, { overwrite, resume, job, signal, onCheck, origin, isPart })
  return { opened, target, options, quantization, planned }
}

/** Names all that decides the output's bytes; undefined where the input cannot be told to be unchanged. */
function jobName(version: string | undefined, model: Model, { fit }: CheckedOptions): string | undefined {
  if (version === undefined) return undefined
  return createHash('sha256')
    .update(JSON.stringify([VERSION, version, fit]))
    .update(formatOf(model).layout(model, { name: '', isFolder: false }).files[0].head())
    .digest('hex')
}

/** In constant memory, whatever the size of the model. */
async function quantizeStreaming({ opened, target, options, quantization, planned }: Job): Promise<void> {
  const { resumed } = target
  // The writer learns the model from a record: one at least has to come.
  const [first] = planned.decisions
  if (first && resumed.size === planned.tensors) target.forget(first.name)
  const { onProgress, signal } = options
  await run(
    [
      readOpened(opened, options),
      // Only the stages that have something to do: each holds a record or two.
      ...progressStage('quantizing', planned, onProgress),
      // Every byte of the input is read and checked, also of tensors that are done.
      quantizeStage(quantization, ({ name }) => resumed.has(name)),
      writeOpened(formatOf(quantization.derive(opened.model)), target, options),
    ],
    signal,
  )
}

/** All in memory: everything is read, then everything is quantized, then the file is written from front to back. */
async function quantizeInMemory({ opened, target, options, quantization, planned }: Job): Promise<void> {
  const { onProgress, signal } = options
  try {
    const source: TensorRecord[] = []
    await run([readOpened(opened, options), ...progressStage('reading', planned, onProgress), collect(source)], signal)
    const progress = progressStage('quantizing', planned, onProgress)
    const quantized: TensorRecord[] = []
    await run([Readable.from(taken(source)), ...progress, quantizeStage(quantization), collect(quantized)], signal)
    await writeWhole(target, quantized, signal, onProgress && reporter('writing', planned, onProgress))
  } finally {
    await target.discard()
  }
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
  } catch (error) {
    // Not every version of Node adds the reason.
    throw signal?.aborted === true && (error as Error).name === 'AbortError' ? abortError(signal) : error
  } finally {
    await Promise.all(closed)
  }
}

/** @throws AprError `APR_NO_SPACE` with both numbers */
async function checkSpace(place: OutputPlace, files: Layout['files'], needed: number, file: string): Promise<void> {
  // A link may lead to another disk; a folder that is still to be made will be on that of the one it is in.
  const folder = place.isNewFolder ? dirname(place.folder) : place.folder
  const free = (await freeBytes(folder)) + (await partialBytes(place, files))
  if (free < needed) {
    const what = `expected ${needed} bytes free on the output's disk, found ${free}; \`spaceCheck: false\` starts all the same`
    throw new AprError('APR_NO_SPACE', what, { file })
  }
}

/** The stage that reports, where somebody wants to know. */
function progressStage(
  phase: Progress['phase'],
  planned: Planned,
  onProgress: QuantizeOptions['onProgress'],
): TensorTransform[] {
  return onProgress ? [tapRecords(reporter(phase, planned, onProgress))] : []
}

/** Counts the records of a phase, which come tensor after tensor and each once, and reports them. */
function reporter(
  phase: Progress['phase'],
  { tensors: totalTensors, decisions }: Planned,
  onProgress: (progress: Progress) => void,
): (record: TensorRecord) => void {
  const isAfter = phase === 'writing'
  const totalBytes = decisions.reduce(
    (sum, { inputBytes, outputBytes }) => sum + (isAfter ? outputBytes : inputBytes),
    0,
  )
  let bytes = 0
  let tensors = 0
  return ({ name, offset, data, size }) => {
    bytes += data.length
    if (offset + data.length === size) tensors++
    onProgress({ phase, bytes, totalBytes, tensors, totalTensors, tensor: name })
  }
}
