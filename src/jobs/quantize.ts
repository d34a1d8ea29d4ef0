import { Readable } from 'node:stream'
import type { Output } from '../files/output/output.js'
import { outputPath } from '../files/output/output-place.js'
import { toPath, type FilePath } from '../files/path.js'
import type { OpenedModel } from '../formats/format.js'
import { formatOf } from '../formats/formats.js'
import type { ByteSource } from '../model/byte-source.js'
import { AprError, located } from '../model/errors.js'
import type { Model } from '../model/model.js'
import type { TensorRecord } from '../model/record.js'
import type { Checked } from '../options/check.js'
import { QUANTIZE_OPTIONS } from '../options/table.js'
import { turn } from '../streams/event-loop.js'
import { openModel } from '../streams/open-input.js'
import { Q4KQuantization } from '../streams/quantize/q4k.js'
import type { Quantization } from '../streams/quantize/quantization.js'
import { quantizeStage } from '../streams/quantize/stage.js'
import { readOpened } from '../streams/reader.js'
import { writeOpened } from '../streams/writer.js'
import { openToRead } from './reading/input.js'
import type { QuantizeOptions, QuantizeReport } from './job.js'
import { checkMode, peakMemoryBytes } from './mode.js'
import { observed } from './observe.js'
import { openOutput } from './open-output.js'
import { planJob, type Plan } from './plan.js'
import { progressStage, reporter } from './progress.js'
import { run, taken } from './run.js'
import { refuseWarnings } from './warnings.js'
import { checkSplit, formatByEnding, wayTo, type JobStage } from './conversion/ways.js'
import { collect, writeWhole } from './write-in-memory.js'

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
    place = { given, absolute: outputPath(given, true) }
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

  const {
    input: name,
    inputFormat,
    outputFormat,
    inputBytes,
    outputBytes,
    ratio,
    tensors,
    quantized,
    kept,
    reasons,
    mode,
    warnings,
  } = planned
  const summary = {
    inputFormat,
    outputFormat,
    inputBytes,
    outputBytes,
    ratio,
    tensors,
    quantized,
    kept,
    reasons,
    mode,
    warnings,
  }
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
  /** Undefined where input and output have one format. */
  readonly way: JobStage | undefined
  readonly quantization: Quantization
  /** The model of the output. */
  readonly derived: Model
  readonly planned: Planned
}

type Planned = Omit<Plan, 'freeBytes'>

async function prepare(opened: OpenedModel, output: FilePath, options: CheckedOptions): Promise<Job> {
  const { input, model } = opened
  // For a model of many tensors each of these takes milliseconds: the event loop turns in between.
  await turn()
  const { fit, pre, config, splitMaxBytes } = options
  const to = options.to ?? formatByEnding(output.given) ?? model.format
  checkSplit(to, splitMaxBytes)
  const way = await wayTo(to, model.format, { outtype: 'auto', pre, config })
  const converted = way ? located({ file: input.name }, () => way.derive(model)) : model
  const quantization = new Q4KQuantization(options)
  const derived = quantization.derive(converted)
  await turn()
  const planned = planJob(quantization, converted, opened, options)
  await turn()
  if (options.strict) refuseWarnings(planned.warnings, input.name)
  const isNamed = planned.mode === 'stream' && opened.version !== undefined
  const job = isNamed ? [opened.version, to, fit, splitMaxBytes] : undefined
  const target = await openOutput(output, derived, job, options)
  return { opened, target, options, way, quantization, derived, planned }
}

/** In constant memory, whatever the size of the model. */
async function quantizeStreaming({ opened, target, options, way, quantization, derived, planned }: Job): Promise<void> {
  const { resumed } = target
  // The writer learns the model from a record: one at least has to come.
  const [first] = planned.decisions
  if (first && resumed.size === planned.tensors) target.forget(first.name)
  const { onProgress, signal } = options
  const isThere = ({ name }: { name: string }): boolean => resumed.has(name)
  await run(
    [
      readOpened(opened, options),
      // Only the stages that have something to do: each holds a record or two.
      ...progressStage('quantizing', opened.model.tensors, onProgress),
      // Every byte of the input is read and checked, also of tensors that are done.
      // The last stage leaves these out: one before it would take what it never saw for dropped.
      ...(way ? [way.stream(() => false)] : []),
      quantizeStage(() => quantization, { isThere }),
      writeOpened(formatOf(derived), target, options),
    ],
    signal,
  )
}

/** All in memory: everything is read, then everything is quantized, then the file is written from front to back. */
async function quantizeInMemory({ opened, target, options, way, quantization, derived }: Job): Promise<void> {
  const { onProgress, signal } = options
  const { tensors } = opened.model
  try {
    const source: TensorRecord[] = []
    await run([readOpened(opened, options), ...progressStage('reading', tensors, onProgress), collect(source)], signal)
    const progress = progressStage('quantizing', tensors, onProgress)
    const conversion = way ? [way.stream(() => false)] : []
    const quantized: TensorRecord[] = []
    await run(
      [Readable.from(taken(source)), ...progress, ...conversion, quantizeStage(() => quantization), collect(quantized)],
      signal,
    )
    await writeWhole(target, quantized, signal, onProgress && reporter('writing', derived.tensors, onProgress))
  } finally {
    await target.discard()
  }
}
