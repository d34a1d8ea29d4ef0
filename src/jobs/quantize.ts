import { Readable } from 'node:stream'
import type { ModelOutput } from '../files/output/model-output.js'
import { Output } from '../files/output/output.js'
import { outputPath } from '../files/output/output-place.js'
import { refuseSameObject, toOutput, type FilePath } from '../files/path.js'
import type { LayoutOptions, OpenedModel } from '../formats/format.js'
import { formatOf } from '../formats/formats.js'
import type { ByteSource } from '../model/byte-source.js'
import { AprError, located } from '../model/errors.js'
import type { Model } from '../model/model.js'
import type { TensorInfo } from '../model/tensor.js'
import type { LostBlocks } from '../quant/runs/run.js'
import type { TensorRecord } from '../model/record.js'
import type { Checked } from '../options/check.js'
import { QUANTIZE_OPTIONS } from '../options/table.js'
import { turn } from '../streams/event-loop.js'
import { openModel } from '../streams/open-input.js'
import { searchElements, type Quantization } from '../streams/quantize/quantization.js'
import { quantizeStage, type StageHooks } from '../streams/quantize/stage.js'
import { readOpened } from '../streams/reader.js'
import { writeOpened } from '../streams/writer.js'
import type { ReportData } from '../quality/report-data.js'
import { threadsFor } from '../threads/executor.js'
import { JobFigures } from './compare/job-report.js'
import { ReportOutput } from './compare/report-output.js'
import { openToRead } from './reading/input.js'
import type { QuantizeOptions, QuantizeReport } from './job.js'
import { checkMode, peakMemoryBytes } from './mode.js'
import { observed } from './observe.js'
import { layoutPlace, openOutput } from './open-output.js'
import type { TypeChoice } from '../recipes/budget/choice.js'
import { makeInThreads } from './parts/in-threads.js'
import { threadsForParts } from './parts/use-threads.js'
import { planJob, type Planned } from './plan.js'
import { checkChoices, outputFormatOf, quantizationOf } from './quantization.js'
import { progressStage, reporter } from './progress.js'
import { run, taken } from './run.js'
import { lossesOf, refuseWarnings, warningsFor } from './warnings.js'
import { checkSplit, wayTo, type JobStage } from './conversion/ways.js'
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
    checkChoices(options)
    const given = toOutput('the output', output)
    refuseSameObject(input, given)
    place = { given, absolute: outputPath(given, true) }
  })

  const report = await reportOutput(checked, place).catch(async (error: unknown) => {
    await found.close()
    throw error
  })
  const opened = await openModel(found)
  let job: Job
  try {
    job = await prepare(opened, place, checked)
  } catch (error) {
    await found.close()
    throw error
  }
  const { summary } = job.planned
  try {
    await (summary.mode === 'stream' ? quantizeStreaming(job) : quantizeInMemory(job))
  } catch (error) {
    // What came too late to keep the output from its place is no failure.
    if (!job.target.isInPlace) {
      // What a stage finds wrong with a record is wrong in the input.
      throw error instanceof AprError ? error.at({ file: found.name }) : error
    }
  }

  await report?.write(reportOf(job, place))
  return {
    ...summary,
    ...(job.choice && { choice: job.choice }),
    output: place.given,
    warnings: [...summary.warnings, ...job.losses.flatMap(({ to, lost }) => lossesOf(to, lost))],
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
  readonly target: ModelOutput
  readonly options: CheckedOptions
  /** Undefined where input and output have one format. */
  readonly way: JobStage | undefined
  /** What is quantized: what a conversion on the way makes of the input. */
  readonly converted: Model
  readonly quantization: Quantization
  /** The model of the output. */
  readonly derived: Model
  readonly planned: Planned
  /** How dtypes were chosen, where that was by a budget. */
  readonly choice: TypeChoice | undefined
  /** What was lost, when the job is done. */
  readonly losses: Loss[]
  /** Undefined where no report is wanted. */
  readonly figures: JobFigures | undefined
}

interface Loss {
  readonly to: TensorInfo
  readonly lost: LostBlocks
}

async function prepare(opened: OpenedModel, output: FilePath, options: CheckedOptions): Promise<Job> {
  const { input, model } = opened
  // For a model of many tensors each of these takes milliseconds: the event loop turns in between.
  await turn()
  const { pre, config, splitMaxBytes } = options
  const to = outputFormatOf(options, output.given, model.format)
  checkSplit(to, splitMaxBytes)
  const way = await wayTo(to, opened, { outtype: 'auto', pre, config })
  const converted = way ? located({ file: input.name }, () => way.derive(model)) : model
  const placeOf = (): Promise<LayoutOptions> => layoutPlace(output, to, splitMaxBytes)
  const { quantization, choice } = await quantizationOf(options, opened, converted, placeOf)
  try {
    const derived = located({ file: input.name }, () => quantization.derive(converted))
    await turn()
    if (options.strict) refuseWarnings(warningsFor(quantization, converted, options.select), input.name)
    const place = await placeOf()
    const planned = planJob(quantization, converted, opened, place, options)
    await turn()
    await quantization.prepare?.()
    const isNamed =
      planned.summary.mode === 'stream' && opened.version !== undefined && quantization.version !== undefined
    const job = isNamed ? [opened.version, to, quantization.version, splitMaxBytes] : undefined
    const target = await openOutput(output, derived, job, options)
    const figures = options.report === undefined ? undefined : new JobFigures()
    return { opened, target, options, way, converted, quantization, derived, planned, choice, losses: [], figures }
  } catch (error) {
    await quantization.close?.()
    throw error
  }
}

/** In constant memory, whatever the size of the model. */
async function quantizeStreaming(job: Job): Promise<void> {
  const { opened, target, options, way, quantization, derived, planned } = job
  const { resumed } = target
  const searched = searchElements(quantization, job.converted)
  // A report takes figures from the values of every record, which pass by in the streams.
  const threads = job.figures ? 0 : threadsForParts(opened, threadsFor(searched, quantization.threads))
  // Threads write to a file by themselves; an object is sent by one.
  if (threads > 0 && target instanceof Output) {
    const { recordBytes, onProgress, signal } = options
    const { converted, losses } = job
    const onLost = (to: TensorInfo, lost: LostBlocks): number => losses.push({ to, lost })
    const stages = { opened, way, converted, quantization, model: derived, target }
    await makeInThreads({ ...stages, threads, recordBytes, phase: 'quantizing', onProgress, onLost, signal })
    return
  }
  // The writer learns the model from a record: one at least has to come.
  const [first] = planned.details.decisions
  if (first && resumed.size === planned.summary.tensors) target.forget(first.name)
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
      quantizeStage(() => quantization, { isThere, ...hooksOf(job) }),
      writeOpened(formatOf(derived), target, options),
    ],
    signal,
  )
}

/** All in memory: everything is read, then everything is quantized, then the file is written from front to back. */
async function quantizeInMemory(job: Job): Promise<void> {
  const { opened, target, options, way, quantization, derived } = job
  const { onProgress, signal } = options
  const { tensors } = opened.model
  try {
    const source: TensorRecord[] = []
    await run([readOpened(opened, options), ...progressStage('reading', tensors, onProgress), collect(source)], signal)
    const progress = progressStage('quantizing', tensors, onProgress)
    const conversion = way ? [way.stream(() => false)] : []
    const quantized: TensorRecord[] = []
    await run(
      [
        Readable.from(taken(source)),
        ...progress,
        ...conversion,
        quantizeStage(() => quantization, hooksOf(job)),
        collect(quantized),
      ],
      signal,
    )
    await writeWhole(target, quantized, signal, onProgress && reporter('writing', derived.tensors, onProgress))
  } finally {
    await target.discard()
  }
}

function hooksOf({ losses, figures }: Job): Pick<StageHooks, 'onLost' | 'onTally'> {
  return { onLost: (to, lost) => losses.push({ to, lost }), onTally: figures?.add }
}

/** @throws AprError where the report cannot be written in the end */
async function reportOutput(
  { report, overwrite }: CheckedOptions,
  output: FilePath,
): Promise<ReportOutput | undefined> {
  return report === undefined ? undefined : await ReportOutput.open(report, overwrite, [output.absolute])
}

function reportOf(
  { opened, planned, derived, quantization, options, way, figures }: Job,
  output: FilePath,
): ReportData {
  if (!figures) throw new Error('no figures were taken')
  const { recipe, imatrix, importance } = options
  const model = way ? way.derive(opened.model) : opened.model
  return figures.report({
    ...{ opened, derived, recipe, importance: importance ?? imatrix },
    output: { name: output.given, bytes: planned.summary.outputBytes },
    decisions: quantization.of(model).decisions.values(),
  })
}
