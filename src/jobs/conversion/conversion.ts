/** What a conversion is: its options, its plan, its report. */
import { outputPath, statOrUndefined } from '../../files/output/output-place.js'
import { besideOf, toOutput, type FilePath } from '../../files/path.js'
import {
  layoutBytes,
  type LayoutOptions,
  type MetadataEntry,
  type OpenedModel,
  type Reading,
} from '../../formats/format.js'
import { formatOf, FORMATS } from '../../formats/formats.js'
import type { ByteSource } from '../../model/byte-source.js'
import type { DType } from '../../model/dtypes.js'
import { AprError, located } from '../../model/errors.js'
import type { FormatName, Model } from '../../model/model.js'
import type { Checked } from '../../options/check.js'
import { CONVERSION_PLAN_OPTIONS, type CONVERT_OPTIONS } from '../../options/table.js'
import type { ReaderOptions } from '../../streams/reader.js'
import { openModel } from '../../streams/open-input.js'
import type { ToGgufOptions } from '../../streams/convert/to-gguf.js'
import { openToRead } from '../reading/input.js'
import type { OutputFile, Progress } from '../job.js'
import { freeBytes, layoutPlace } from '../open-output.js'
import { folderOf } from '../plan.js'
import { checkSplit, formatByName, PASS, wayTo, type JobStage } from './ways.js'

export interface ConvertOptions extends ToGgufOptions, ReaderOptions {
  /** Format of the output. Default: the one that its name speaks of. */
  to?: FormatName | undefined
  /** Bytes of an output's file at the most: a larger model becomes several. Default: one file. */
  splitMaxBytes?: number | undefined
  /** Replace an existing output. Default false: an existing output is an error. */
  overwrite?: boolean | undefined
  /** Go on from what an earlier run of the same job has left; keep it when this run fails. Default false. */
  resume?: boolean | undefined
  /** Refuse to start where the disk has less room than the output takes. Default true. */
  spaceCheck?: boolean | undefined
  /** Called as the job goes on, once a record. What it throws ends the job. */
  onProgress?: ((progress: Progress) => void) | undefined
  /** Ends the job; the promise rejects with the signal's reason as cause. */
  signal?: AbortSignal | undefined
}

export interface ConversionPlanOptions extends ConvertOptions {
  /** Where the output would go: its name tells the format, its disk the free space. */
  output?: string | URL | undefined
}

/** What a tensor of the output is made of. */
export interface ConvertedTensor {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Without padding. */
  readonly bytes: number
  /** Tensors of the input, whole or in part: none for one that is made, many for stacked experts. */
  readonly sources: readonly SourceTensor[]
}

export interface SourceTensor {
  readonly name: string
  readonly dtype: DType
  readonly bytes: number
}

/** What a plan and a report both tell. */
export interface ConversionSummary {
  readonly input: string
  readonly inputFormat: FormatName
  readonly outputFormat: FormatName
  /** Of the input's files with tensors, without what stands beside them; and of all files of the output, exactly. */
  readonly inputBytes: number
  readonly outputBytes: number
  /** The output's files; the first is the one by which the others are found. */
  readonly files: readonly OutputFile[]
  /** Number of the output's tensors. */
  readonly tensors: number
  /** Names of tensors of the input that nothing is made of. */
  readonly dropped: readonly string[]
}

export interface ConversionPlan extends ConversionSummary {
  /** Free on the output's disk, for this user; undefined where the input is no local file and no output is given. */
  readonly freeBytes: number | undefined
  /** Every tensor of the output, in its order. */
  readonly decisions: readonly ConvertedTensor[]
  /** Every key that will be written, in its order, with its value, cut where it is long. */
  readonly metadata: readonly MetadataEntry[]
}

export interface ConvertReport extends ConversionSummary {
  readonly output: string
  /** With `resume`: tensors that an earlier run had written, and why there are none where something was left of one. */
  readonly resumedTensors: number
  readonly restartReason: string | undefined
  readonly seconds: number
  /** Peak resident memory of the whole process so far. */
  readonly peakMemoryBytes: number
}

/** A conversion, checked as far as it can be without reading a tensor. */
export interface Conversion {
  readonly stage: JobStage
  /** The model of the output. */
  readonly model: Model
  readonly summary: ConversionSummary
}

/**
 * Says what `convert` would do, from what stands before the tensors alone.
 *
 * @param input a path of a file or folder, a `file:` URL, or a ByteSource, which is closed at the end
 * @throws AprError as `convert`, for all that can be found without reading a tensor
 */
export async function planConversion(
  input: string | URL | ByteSource,
  options: ConversionPlanOptions = {},
): Promise<ConversionPlan> {
  const beside = besideOf(input)
  let output: FilePath | undefined
  const { input: found, options: checked } = await openToRead(input, options, CONVERSION_PLAN_OPTIONS, (given) => {
    if (given.output === undefined) return
    const path = toOutput('the output', given.output)
    output = { given: path, absolute: outputPath(path, true) }
  })
  const opened = await openModel(found, undefined, readingFor(checked, output))
  try {
    const { model, stage, summary } = await planOf(opened, output, checked)
    const folder = output === undefined ? beside : await folderOf(output.absolute, summary.outputFormat)
    return {
      ...summary,
      freeBytes: folder === undefined ? undefined : await freeBytes(folder),
      decisions: decisionsOf(opened.model, model, stage),
      metadata: formatOf(model).describeMetadata(model),
    }
  } finally {
    await found.close()
  }
}

/** Weights in FP8 are rounded once: where GGUF of another dtype than BF16 is made, not before. */
export function readingFor(
  { to, outtype }: Pick<Checked<ConvertOptions, typeof CONVERT_OPTIONS>, 'to' | 'outtype'>,
  output: FilePath | undefined,
): Reading {
  const isGguf = (to ?? formatByName(output?.absolute ?? '')) === 'gguf'
  return { fp8: isGguf && (outtype === 'f32' || outtype === 'f16') ? 'F32' : 'BF16' }
}

/**
 * What becomes of an opened model.
 * @param output its name tells the format where `to` does not; undefined: it is only asked what it would be
 * @param place how it is laid out, where it is on no disk here
 */
export async function planOf(
  opened: OpenedModel,
  output: FilePath | undefined,
  options: Pick<Checked<ConvertOptions, typeof CONVERT_OPTIONS>, 'to' | 'outtype' | 'pre' | 'config' | 'splitMaxBytes'>,
  place?: LayoutOptions,
): Promise<Conversion> {
  const { model: source, input, size: inputBytes } = opened
  const to = options.to ?? (output && (formatByName(output.absolute) ?? (await formatOfFolder(output.absolute))))
  if (to === undefined) {
    const endings = Object.values(FORMATS).map(({ extension }) => extension)
    const what = `expected an output that ends with ${endings.join(', ')} or a slash, or \`to\` to say its format, found neither`
    throw new AprError('APR_BAD_OPTION', what, { file: output?.given })
  }
  checkSplit(to, options.splitMaxBytes)
  const { format: from } = source
  const way = await wayTo(to, opened, options)
  const stage = way ?? PASS
  const model = located({ file: input.name }, () => stage.derive(source))
  const layout = formatOf(model).layout(model, place ?? (await layoutPlace(output, to, options.splitMaxBytes)))
  const sources = sourcesOf(stage, source)
  const used = new Set(sources ? [...sources.values()].flat() : model.tensors.map((tensor) => tensor.name))
  const summary: ConversionSummary = {
    ...{ input: input.name, inputFormat: from, outputFormat: to, inputBytes, outputBytes: layoutBytes(layout) },
    files: layout.files.map((file) => ({ name: file.name, bytes: file.fileSize })),
    tensors: model.tensors.length,
    dropped: source.tensors.filter((tensor) => !used.has(tensor.name)).map((tensor) => tensor.name),
  }
  return { stage, model, summary }
}

/** A folder that is there can only become one of safetensors. */
async function formatOfFolder(path: string): Promise<FormatName | undefined> {
  const found = await statOrUndefined(path).catch(() => undefined)
  return found?.isDirectory() ? 'safetensors' : undefined
}

function decisionsOf(source: Model, model: Model, stage: JobStage): ConvertedTensor[] {
  const byName = new Map(source.tensors.map((tensor) => [tensor.name, tensor]))
  const found = sourcesOf(stage, source)
  return model.tensors.map((tensor) => {
    const { name, dtype, shape, size } = tensor
    const sources = (found?.get(name) ?? [name]).flatMap((from) => {
      const one = byName.get(from)
      return one ? [{ name: one.name, dtype: one.dtype, bytes: one.size }] : []
    })
    return { name, dtype, shape, bytes: size, sources }
  })
}

/** Names of the input's tensors that each of the output's is made of, by its name; undefined: those of the same name. */
function sourcesOf(stage: JobStage, model: Model): ReadonlyMap<string, readonly string[]> | undefined {
  const targets = stage.targets(model)
  return (
    targets &&
    new Map(targets.map(({ tensor, pieces }) => [tensor.name, [...new Set(pieces.map((one) => one.source))]]))
  )
}
