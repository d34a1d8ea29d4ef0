import { dirname } from 'node:path'
import { layoutBytes, type LayoutOptions, type OpenedModel } from '../formats/format.js'
import { FORMATS, formatOf } from '../formats/formats.js'
import type { FormatName, Model } from '../model/model.js'
import { freeBytes, layoutPlace } from './open-output.js'
import { checkSplit, wayTo } from './conversion/ways.js'
import type { JobSummary, QuantizeOptions } from './job.js'
import { AprError, located } from '../model/errors.js'
import type { Checked } from '../options/check.js'
import { PLAN_OPTIONS, type QUANTIZE_OPTIONS } from '../options/table.js'
import { isQuantized, searchElements, type Decision, type Quantization } from '../streams/quantize/quantization.js'
import { checkChoices, outputFormatOf, quantizationOf } from './quantization.js'
import { threadsFor } from '../threads/executor.js'
import { openModel } from '../streams/open-input.js'
import { openToRead } from './reading/input.js'
import { checkMode, estimateMemory, resolveMode, type ModeChoice } from './mode.js'
import { refuseWarnings, warningsFor } from './warnings.js'
import type { ByteSource } from '../model/byte-source.js'
import { findPlace, outputPath } from '../files/output/output-place.js'
import { besideOf, toOutput, type FilePath } from '../files/path.js'
import type { DType } from '../model/dtypes.js'
import { elementCount, type TensorInfo } from '../model/tensor.js'

/** The options of `quantize`, and where the output would go. */
export interface PlanOptions extends QuantizeOptions {
  /** Where the output would go: its disk is the one whose free space is told. Default: beside the input. */
  output?: string | URL | undefined
}

/** What happens to one tensor. */
export interface PlannedTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly action: 'quantize' | 'keep'
  readonly reason: Decision['reason']
  /** Of a recipe: what decided, in a few words. */
  readonly rule?: string
  readonly dtype: DType
  readonly outputDType: DType
  /** Bytes before and after, without padding. */
  readonly inputBytes: number
  readonly outputBytes: number
}

/** Tensors and bytes of one dtype. */
export interface DTypeCensus {
  tensors: number
  bytes: number
}

export interface Plan extends JobSummary {
  /** Estimate of the peak resident memory of the process. */
  readonly peakMemoryBytes: number
  /** Free on the output's disk, for this user; undefined where the input is no local file and no output is given. */
  readonly freeBytes: number | undefined
  /** By dtype, before and after. */
  readonly inputDTypes: Partial<Record<DType, DTypeCensus>>
  readonly outputDTypes: Partial<Record<DType, DTypeCensus>>
  /** Every tensor, in the order of the index. */
  readonly decisions: readonly PlannedTensor[]
}

/** What is known of a job without looking at a disk. */
export interface Planned {
  readonly summary: JobSummary
  readonly details: Omit<Plan, keyof JobSummary | 'freeBytes'>
}

/**
 * Says what `quantize` would do, from header, metadata and index alone: no byte of a tensor is read.
 *
 * @param input a path, a `file:` URL, or a ByteSource, which is closed at the end
 * @throws AprError for every rule that header, metadata and index can break, `APR_BAD_OPTION`, `APR_STRICT`, and
 *   `APR_BAD_RECORD` for a model without tensors, which cannot be written
 * @throws an `AbortError` when `signal` ends the work
 */
export async function plan(input: string | URL | ByteSource, options: PlanOptions = {}): Promise<Plan> {
  const beside = besideOf(input)
  let output: FilePath | undefined
  const { input: found, options: checked } = await openToRead(input, options, PLAN_OPTIONS, (given) => {
    checkMode(given)
    checkChoices(options)
    if (given.output === undefined) return
    const path = toOutput('the output', given.output)
    output = { given: path, absolute: outputPath(path, true) }
  })
  const opened = await openModel(found)
  try {
    const { pre, config } = checked
    const { format } = opened.model
    const to = outputFormatOf(checked, output?.given ?? '', format)
    checkSplit(to, checked.splitMaxBytes)
    const way = await wayTo(to, opened, { outtype: 'auto', pre, config })
    const converted = way ? located({ file: found.name }, () => way.derive(opened.model)) : opened.model
    const placeOf = (): Promise<LayoutOptions> => layoutPlace(output, to, checked.splitMaxBytes)
    const { quantization, choice } = await quantizationOf(checked, opened, converted, placeOf)
    let planned: Planned
    try {
      const place = await placeOf()
      planned = located({ file: found.name }, () => planJob(quantization, converted, opened, place, checked))
    } finally {
      await quantization.close?.()
    }
    if (checked.strict) refuseWarnings(planned.summary.warnings, found.name)
    const folder = output === undefined ? beside : await folderOf(output.absolute, to)
    return {
      ...planned.summary,
      ...(choice && { choice }),
      ...planned.details,
      freeBytes: folder === undefined ? undefined : await freeBytes(folder),
    }
  } finally {
    await found.close()
  }
}

/** The folder on whose disk an output would be; undefined for one in object storage. */
export async function folderOf(output: string, format: FormatName): Promise<string | undefined> {
  const place = await findPlace(output, FORMATS[format].nameInFolder)
  if (place.object) return undefined
  return place.isNewFolder ? dirname(place.folder) : place.folder
}

/**
 * What is known of a job without looking at a disk.
 * @param model what is quantized: the opened one, or what was made of it on the way
 * @param place how the output is laid out
 * @throws AprError for tensors that the output's format cannot hold, and for a model without any
 */
export function planJob(
  quantization: Quantization,
  model: Model,
  { model: source, input, size: inputBytes }: OpenedModel,
  place: LayoutOptions,
  options: ModeChoice & Pick<Checked<QuantizeOptions, typeof QUANTIZE_OPTIONS>, 'select'>,
): Planned {
  const quantized = quantization.of(model)
  const decisions = [...quantized.decisions.values()]
  if (decisions.length === 0) {
    throw new AprError('APR_BAD_RECORD', 'expected at least one tensor, found a model without any', {
      file: input.name,
    })
  }
  const format = formatOf(quantized.model)
  const layout = format.layout(quantized.model, place)
  const outputBytes = layoutBytes(layout)
  const mode = resolveMode(inputBytes, options)
  const selected = decisions.filter(isQuantized).length
  const summary: JobSummary = {
    input: input.name,
    inputFormat: source.format,
    outputFormat: format.name,
    inputBytes,
    outputBytes,
    ratio: inputBytes / outputBytes,
    bitsPerWeight: bitsPerWeight(quantized.model.tensors),
    files: layout.files.map((file) => ({ name: file.name, bytes: file.fileSize })),
    tensors: decisions.length,
    quantized: selected,
    kept: decisions.length - selected,
    reasons: countReasons(decisions),
    mode,
    warnings: warningsFor(quantization, model, options.select),
  }
  const details = {
    peakMemoryBytes: estimateMemory(mode, {
      inputBytes,
      outputBytes,
      tensors: decisions.length,
      metadataBytes: format.metadataBytes(quantized.model),
      threads: threadsFor(searchElements(quantization, model), quantization.threads),
    }),
    inputDTypes: census(decisions.map(({ from }) => from)),
    outputDTypes: census(decisions.map(({ to }) => to)),
    decisions: decisions.map(describe),
  }
  return { summary, details }
}

function bitsPerWeight(tensors: readonly TensorInfo[]): number {
  let bytes = 0
  let weights = 0
  for (const { shape, size } of tensors) {
    bytes += size
    weights += elementCount(shape)
  }
  return weights === 0 ? 0 : (bytes * 8) / weights
}

function describe(decision: Decision): PlannedTensor {
  const { from, to, reason } = decision
  return {
    name: from.name,
    shape: from.shape,
    action: isQuantized(decision) ? 'quantize' : 'keep',
    reason,
    ...('rule' in decision && { rule: decision.rule }),
    dtype: from.dtype,
    outputDType: to.dtype,
    inputBytes: from.size,
    outputBytes: to.size,
  }
}

function countReasons(decisions: readonly Decision[]): Partial<Record<Decision['reason'], number>> {
  const reasons: Partial<Record<Decision['reason'], number>> = {}
  for (const { reason } of decisions) reasons[reason] = (reasons[reason] ?? 0) + 1
  return reasons
}

function census(tensors: readonly TensorInfo[]): Partial<Record<DType, DTypeCensus>> {
  const result: Partial<Record<DType, DTypeCensus>> = {}
  for (const { dtype, size } of tensors) {
    const entry = (result[dtype] ??= { tensors: 0, bytes: 0 })
    entry.tensors++
    entry.bytes += size
  }
  return result
}
