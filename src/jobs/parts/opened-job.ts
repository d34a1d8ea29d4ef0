/** A job that is open to make any bytes of its one output file, in any order: what parts are made with. */
import { createHash } from 'node:crypto'
import { outputPath } from '../../files/output/output-place.js'
import { portableVersion } from '../../files/local-file.js'
import { toPath, type FilePath } from '../../files/path.js'
import type { FileLayout, LayoutOptions, OpenedModel, PlacedTensor } from '../../formats/format.js'
import { formatOf } from '../../formats/formats.js'
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import type { FileIdentity, Model } from '../../model/model.js'
import { CONVERT_OPTIONS, QUANTIZE_BYTES_PER_THREAD, QUANTIZE_OPTIONS, READER_OPTIONS } from '../../options/table.js'
import type { PlannedSource, SourceRun } from '../../parts/blocks.js'
import { makeRanges, type Made, type Workshop } from '../../parts/make.js'
import type { PartRange } from '../../parts/part-tensor.js'
import type { Kernel } from '../../quant/kernel.js'
import { createSimdKernel } from '../../quant/simd.js'
import { remoteAddress } from '../../remote/address.js'
import { openModel } from '../../streams/open-input.js'
import { searchElements } from '../../streams/quantize/quantization.js'
import { LocalExecutor } from '../../threads/executor.js'
import { VERSION } from '../../version.js'
import { planOf, readingFor, type ConversionSummary, type ConvertOptions } from '../conversion/conversion.js'
import { checkSplit, wayTo } from '../conversion/ways.js'
import type { JobSummary, QuantizeOptions } from '../job.js'
import { layoutPlace } from '../open-output.js'
import { planJob } from '../plan.js'
import { checkChoices, outputFormatOf, quantizationOf } from '../quantization.js'
import { openToRead } from '../reading/input.js'
import { refuseWarnings } from '../warnings.js'
import { finishSources } from './finish-sources.js'
import { jobTensors, type JobStages, type JobTensors } from './part-tensors.js'

/** As those of `quantize`, or with `convert` those of `convert`. */
export type JobOptions = (QuantizeOptions & { convert?: false | undefined }) | (ConvertOptions & { convert: true })

/** A job whose bytes can be made. */
export interface OpenedJob {
  /** SHA-256, in hexadecimal digits, of all that decides the bytes: version, options, head, and the sources' versions. */
  readonly id: string
  /** Bytes of the output. */
  readonly fileSize: number
  /** The last bytes, which follow from the CRC-32 of all before them: `makeBytes` cannot make them, `tail` does. */
  readonly tailBytes: number
  readonly summary: JobSummary | ConversionSummary
  readonly sources: readonly PlannedSource[]
  /** Which local files the input is, and who may do what with them. */
  readonly origin: FileIdentity | undefined
  /**
   * Fills `target` with the output's bytes from `start` on. Calls may overlap in time.
   * @throws AprError as the streams do, an `AbortError`
   */
  makeBytes(target: Uint8Array, start: number, options?: { readonly signal?: AbortSignal | undefined }): Promise<Made>
  /** @param crc32 of all bytes before these */
  tail(crc32: number): Uint8Array
  /**
   * Checks the input as a whole: its checksum, where it has one, by what was read for all blocks; what no tensor holds; and
   * that it is still what it was. What nobody has read is read now.
   * @throws AprError `APR_BAD_CRC` and as a reader does at its end
   */
  finishSources(runs: Iterable<SourceRun>): Promise<void>
  /** Fails where the input is no longer what it was when the job was opened. */
  checkUnchanged(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens a job.
 * @param input a path, a URL, or a ByteSource, which is closed with the job, and when this fails
 * @param output where the bytes will go: nothing is done there, its name tells the format
 * @throws AprError `APR_BAD_OPTION` for an output of several files, and for options by which every part would have to read
 *   all of the input; as `quantize` and `convert`
 */
export async function openJob(
  input: string | URL | ByteSource,
  output: string | URL,
  options: JobOptions = {},
): Promise<OpenedJob> {
  if (options.convert === true) {
    const rest: ConvertOptions & { convert?: true } = { ...options }
    delete rest.convert
    return await openConversion(input, output, rest)
  }
  const rest: QuantizeOptions & { convert?: false | undefined } = { ...options }
  delete rest.convert
  return await openQuantization(input, output, rest)
}

async function openConversion(
  input: string | URL | ByteSource,
  output: string | URL,
  options: ConvertOptions,
): Promise<OpenedJob> {
  let place: FilePath = { given: '', absolute: '' }
  const { input: found, options: checked } = await openToRead(input, options, CONVERT_OPTIONS, () => {
    place = placeOfOutput(output)
  })
  const opened = await openModel(found, undefined, readingFor(checked, place))
  try {
    const layout = layoutOf(place)
    const { stage, model, summary } = await planOf(opened, place, checked, layout)
    const stages: JobStages = { opened, way: stage, converted: model, quantization: undefined }
    return await makeJob(stages, model, layout ?? (await layoutPlace(place, summary.outputFormat, undefined)), {
      summary,
      ...sizesOf(checked),
      threads: undefined,
    })
  } catch (error) {
    await found.close()
    throw error
  }
}

async function openQuantization(
  input: string | URL | ByteSource,
  output: string | URL,
  options: QuantizeOptions,
): Promise<OpenedJob> {
  let place: FilePath = { given: '', absolute: '' }
  const { input: found, options: checked } = await openToRead(input, options, QUANTIZE_OPTIONS, () => {
    checkChoices(options)
    refuseMeasured(options)
    place = placeOfOutput(output)
  })
  const opened = await openModel(found)
  try {
    const { pre, config, splitMaxBytes } = checked
    const to = outputFormatOf(checked, place.given, opened.model.format)
    checkSplit(to, splitMaxBytes)
    const way = await wayTo(to, opened, { outtype: 'auto', pre, config })
    const converted = way ? way.derive(opened.model) : opened.model
    const layout = layoutOf(place) ?? (await layoutPlace(place, to, splitMaxBytes))
    const { quantization } = await quantizationOf(checked, opened, converted, () => Promise.resolve(layout))
    try {
      const derived = quantization.derive(converted)
      const { summary } = planJob(quantization, converted, opened, layout, { ...checked, mode: 'stream' })
      if (checked.strict) refuseWarnings(summary.warnings, found.name)
      await quantization.prepare?.()
      const { threads } = checked
      return await makeJob({ opened, way, converted, quantization }, derived, layout, {
        ...{ summary, threads },
        ...sizesOf(checked),
        windowBytes: checked.highWaterMark,
      })
    } catch (error) {
      await quantization.close?.()
      throw error
    }
  } catch (error) {
    await found.close()
    throw error instanceof AprError ? error.at({ file: found.name }) : error
  }
}

/** @throws AprError `APR_BAD_OPTION` for what is measured of all weights: each process would read them all */
function refuseMeasured({ importance, targetBytes, bitsPerWeight }: QuantizeOptions): void {
  if (importance !== undefined) {
    const what = 'expected an importance matrix in a file (`imatrix`) for a job in parts, found `importance`'
    throw new AprError('APR_BAD_OPTION', `${what}: write it first`)
  }
  if (targetBytes === undefined && bitsPerWeight === undefined) return
  throw new AprError(
    'APR_BAD_OPTION',
    'expected `types` for a job in parts, found a size by which they are to be chosen',
  )
}

function placeOfOutput(output: string | URL): FilePath {
  if (remoteAddress(output)) return { given: String(output), absolute: String(output) }
  const given = toPath('the output', output)
  return { given, absolute: outputPath(given, true) }
}

/** How an output is laid out that is on no disk here. */
function layoutOf({ given }: FilePath): LayoutOptions | undefined {
  return remoteAddress(given) ? { name: given.slice(given.lastIndexOf('/') + 1), isFolder: false } : undefined
}

function sizesOf({ recordBytes, highWaterMark = READER_OPTIONS.highWaterMark.default }: GivenSizes): Sizes {
  return { recordBytes, highWaterMark }
}

interface GivenSizes {
  readonly recordBytes: number
  readonly highWaterMark: number | undefined
}

interface Sizes {
  readonly recordBytes: number
  readonly highWaterMark: number
}

interface Details extends Sizes {
  readonly summary: OpenedJob['summary']
  readonly threads: number | undefined
  readonly windowBytes?: number | undefined
}

async function makeJob(stages: JobStages, model: Model, place: LayoutOptions, details: Details): Promise<OpenedJob> {
  const { quantization, converted } = stages
  const { files, tensors } = formatOf(model).layout(model, place)
  const [file] = files
  if (files.length > 1) {
    const what = `expected an output of one file for a job in parts, found ${files.length}`
    throw new AprError('APR_BAD_OPTION', what)
  }
  await Promise.resolve()
  const executor = new LocalExecutor(details.threads)
  if (quantization) executor.prepare(searchElements(quantization, converted))
  return new OneFileJob(stages, file, tensors, executor, details)
}

class OneFileJob implements OpenedJob {
  readonly id: string
  readonly fileSize: number
  readonly tailBytes: number
  readonly summary: OpenedJob['summary']
  readonly sources: readonly PlannedSource[]
  readonly #stages: JobStages
  readonly #file: FileLayout
  readonly #head: Uint8Array
  readonly #tensors: readonly PlacedTensor[]
  readonly #parts: JobTensors
  readonly #executor: LocalExecutor
  readonly #workshop: Workshop
  #isClosed = false

  constructor(
    stages: JobStages,
    file: FileLayout,
    tensors: readonly PlacedTensor[],
    executor: LocalExecutor,
    { summary, recordBytes, highWaterMark, windowBytes }: Details,
  ) {
    const { opened, quantization } = stages
    this.#stages = stages
    this.#file = file
    this.#head = file.head()
    this.#tensors = tensors.filter(({ tensor }) => tensor.size > 0)
    this.#executor = executor
    this.fileSize = file.fileSize
    this.tailBytes = file.checksum?.bytes ?? 0
    this.summary = summary
    this.sources = plannedSources(opened)
    this.id = createHash('sha256')
      .update(JSON.stringify([VERSION, opened.model.format, summary.outputFormat, quantization?.version ?? 'copy']))
      .update(JSON.stringify(this.sources.map(({ bytes, version }) => [bytes, version])))
      .update(this.#head)
      .digest('hex')
    this.#parts = jobTensors(stages)
    let kernel: Kernel | undefined
    this.#workshop = {
      sources: opened.sources,
      perform: (run, to, tensor) => executor.perform({ run, to, data: run.data, tensor }),
      kernel: () => (kernel ??= createSimdKernel()),
      importance: this.#parts.importance,
      hasChecksum: opened.hasChecksum,
      ...{ recordBytes, highWaterMark },
      windowBytes: windowBytes ?? executor.threads * QUANTIZE_BYTES_PER_THREAD,
    }
  }

  get origin(): FileIdentity | undefined {
    return this.#stages.opened.model.origin
  }

  async makeBytes(
    target: Uint8Array,
    start: number,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Made> {
    const end = start + target.length
    if (start < 0 || end > this.fileSize - this.tailBytes) {
      throw new RangeError(
        `expected bytes before ${this.fileSize - this.tailBytes}, found those from ${start} to ${end}`,
      )
    }
    target.fill(0)
    if (start < this.#head.length) target.set(this.#head.subarray(start, end))
    const places = new Map<PartRange, number>()
    for (let i = this.#firstBehind(start); i < this.#tensors.length; i++) {
      const placed = this.#tensors[i]
      if (!placed || placed.position >= end) break
      const { tensor, position } = placed
      const [from, to] = [Math.max(0, start - position), Math.min(tensor.size, end - position)]
      if (from < to) places.set({ part: this.#parts.of(tensor), start: from, end: to }, position - start)
    }
    try {
      return await makeRanges(
        places.keys(),
        this.#workshop,
        (range, offset, bytes) => target.set(bytes, (places.get(range) ?? 0) + offset),
        signal,
      )
    } catch (error) {
      throw error instanceof AprError ? error.at({ file: this.#stages.opened.input.name }) : error
    }
  }

  tail(crc32: number): Uint8Array {
    return this.#file.checksum?.encode(crc32) ?? new Uint8Array(0)
  }

  async finishSources(runs: Iterable<SourceRun>): Promise<void> {
    await finishSources(this.#stages.opened, runs)
  }

  async checkUnchanged(): Promise<void> {
    await this.#stages.opened.input.checkUnchanged()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#executor.close()
    await this.#stages.quantization?.close?.()
    await this.#stages.opened.input.close()
  }

  /** Index of the first tensor that ends behind a byte of the file. */
  #firstBehind(start: number): number {
    let low = 0
    let high = this.#tensors.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const placed = this.#tensors[middle]
      if (placed && placed.position + placed.tensor.size <= start) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** @throws AprError `APR_BAD_OPTION` for an input of which nobody can tell whether it has changed */
function plannedSources(opened: OpenedModel): PlannedSource[] {
  // Weights that are made as they are read have sources of their own, whose files are among the others.
  const sources = opened.sources.flatMap((source): PlannedSource[] => {
    const version = portableVersion(source)
    return version === undefined ? [] : [{ name: source.name, bytes: source.size, version }]
  })
  if (opened.version !== undefined && sources.length > 0) return sources
  throw new AprError('APR_BAD_OPTION', 'expected an input with a version for a job in parts, found one without', {
    file: opened.input.name,
  })
}
