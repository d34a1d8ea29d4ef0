/** How far one model is from another: figures of each tensor, in constant memory. */
import { openModelInput } from '../../files/model-input.js'
import { closeUnused } from '../../files/open-source.js'
import type { OpenedModel } from '../../formats/format.js'
import type { ByteSource } from '../../model/byte-source.js'
import { AprError, checkNotAborted } from '../../model/errors.js'
import { elementCount, type TensorInfo } from '../../model/tensor.js'
import { checkOptions, type Checked } from '../../options/check.js'
import { COMPARE_OPTIONS } from '../../options/table.js'
import type { RunImportance } from '../../quant/runs/run.js'
import type { Select } from '../../quant/policy.js'
import { REPORT_SCHEMA_VERSION, type ReportData, type TensorFigures } from '../../quality/report-data.js'
import { grouped, reportModel, TallyBook, type TensorPair } from '../../quality/report.js'
import { rowsOfTensor, type Tally } from '../../quality/tally.js'
import type { Slice } from '../../quality/pairs.js'
import { BufferPool } from '../../records/buffers.js'
import { openModel } from '../../streams/open-input.js'
import { matrixRun, type MatrixImportance } from '../../streams/quantize/quantization.js'
import { LocalExecutor } from '../../threads/executor.js'
import { VERSION } from '../../version.js'
import { abortableSources } from '../reading/abort.js'
import { reporter } from '../progress.js'
import type { Progress } from '../job.js'
import { peakMemoryBytes } from '../mode.js'
import { importanceFor } from './importance.js'
import { withPredictions } from './predicted.js'
import { RangeReader } from './read-range.js'
import { ReportOutput } from './report-output.js'
import { match, sidesOf, type Side, type Sides } from './sides.js'
import { streamSide, type SideSlice } from './stream-side.js'

export interface CompareOptions {
  /** An importance matrix, as `llama-imatrix` writes it: errors are weighted by it, too. */
  imatrix?: string | URL | undefined
  /** The relative error that a tensor may have: 0.08 is 8 %. Those beyond it are listed. Default: any. */
  maxError?: number | undefined
  /** Which tensors are compared, by the names that they have in the report. Default: all. */
  select?: Select | undefined
  /** Where the report goes: a `.json` or `.html` file. Default: none is written. */
  report?: string | URL | undefined
  /** Replace an existing report. Default false: an existing file is an error. */
  overwrite?: boolean | undefined
  /** A folder with `config.json`, for a model with Hugging Face's names that comes without it. */
  config?: string | URL | undefined
  /** Worker threads at the most. Default: the cores that are there for this process. Few data take fewer. */
  threads?: number | undefined
  /** Called as the weights are read. What it throws ends the work. */
  onProgress?: ((progress: Progress) => void) | undefined
  /** Ends the work; the promise rejects with an `AbortError` whose `cause` is the signal's reason. */
  signal?: AbortSignal | undefined
}

type CheckedCompareOptions = Checked<CompareOptions, typeof COMPARE_OPTIONS>

export interface Comparison extends ReportData {
  /** Whether no tensor is beyond `maxError`. */
  readonly ok: boolean
  /**
   * Names of the tensors that are: also those with NaN or infinity, and those of two shapes. Without `maxError` none.
   */
  readonly beyond: readonly string[]
  readonly seconds: number
  /** Peak resident memory of the whole process so far. */
  readonly peakMemoryBytes: number
}

/**
 * Compares two models of any formats and dtypes, tensor by tensor: how far `b` is from `a`. Tensors are matched by their
 * names; where one model has Hugging Face's and the other GGUF's, through the names, orders of rows and stacked experts of
 * the conversion. Takes constant memory.
 *
 * @param a the original: a path of a file or folder, a URL, or a ByteSource, which is closed at the end
 * @param b what is held against it
 * @throws AprError `APR_BAD_OPTION`, `APR_BAD_INDEX` where no tensor of the one is in the other, and for every rule that
 *   header, metadata and index can break
 * @throws an `AbortError` when `signal` ends the work
 */
export async function compare(
  a: string | URL | ByteSource,
  b: string | URL | ByteSource,
  options: CompareOptions = {},
): Promise<Comparison> {
  const started = performance.now()
  const opened: OpenedModel[] = []
  const unopened = [a, b]
  try {
    const checked = checkOptions(options, COMPARE_OPTIONS)
    const { signal, report, overwrite } = checked
    checkNotAborted(signal)
    const output = report === undefined ? undefined : await ReportOutput.open(report, overwrite)
    const wrap = signal && abortableSources(signal)
    for (const input of [a, b]) {
      unopened.shift()
      // Products in f32, not these rounded: that is what the weights are.
      opened.push(await openModel(await openModelInput(input, wrap), undefined, { fp8: 'F32' }))
    }
    const [first, second] = opened as [OpenedModel, OpenedModel]
    const sides = await sidesOf(first, second, checked.config)
    const data = await dataOf(sides, checked)
    await output?.write(data)
    const beyond = checked.maxError === undefined ? [] : beyondOf(data, checked.maxError)
    return {
      ...data,
      ...{ ok: beyond.length === 0, beyond, seconds: (performance.now() - started) / 1000 },
      peakMemoryBytes: await peakMemoryBytes(),
    }
  } finally {
    for (const input of unopened) await closeUnused(input)
    for (const { input } of opened) await input.close()
  }
}

async function dataOf(sides: Sides, options: CheckedCompareOptions): Promise<ReportData> {
  const { a, b } = sides
  const { pairs, onlyInA, onlyInB } = match(sides, options.select ?? (() => true))
  if (pairs.length === 0) {
    const what = `expected tensors of the same names and shapes, found none among ${a.tensors.length} and ${b.tensors.length}`
    throw new AprError('APR_BAD_INDEX', what, { file: b.opened.input.name })
  }
  const book = new TallyBook()
  const importance = await importanceFor(a, options)
  try {
    await new Comparing(sides, pairs, importance?.of, book, options).run()
  } finally {
    await importance?.close()
  }
  return {
    schemaVersion: REPORT_SCHEMA_VERSION,
    generator: `apr-stream ${VERSION}`,
    kind: 'compare',
    a: modelOf(a.opened),
    b: modelOf(b.opened),
    ...(importance && { importance: importance.file }),
    ...grouped(withPredictions(pairs.map((pair) => book.figuresOf(pair)))),
    ...{ onlyInA, onlyInB },
  }
}

function modelOf({ input, model, size }: OpenedModel): ReportData['a'] {
  return reportModel({ name: input.name, format: model.format, bytes: size }, model.tensors)
}

function beyondOf({ tensors, onlyInB }: ReportData, maxError: number): string[] {
  const isBeyond = ({ relativeError, notFinite }: TensorFigures): boolean =>
    relativeError === null || relativeError > maxError || notFinite !== undefined
  return [
    ...tensors.filter(isBeyond).map(({ name }) => name),
    ...onlyInB.filter(({ reason }) => reason === 'shape').map(({ name }) => name),
  ]
}

/** Pairs under way in the threads at the most, in bytes; at least one a thread. */
const WINDOW_BYTES = 8 * 1024 * 1024

/** What comparing costs, to a search for scales. */
const COST = 1 / 4

type ImportanceOf = ((tensor: TensorInfo) => MatrixImportance | undefined) | undefined

interface Pending {
  readonly pair: TensorPair
  readonly done: Promise<{ readonly tally: Tally; readonly isWeighted: boolean }>
  readonly bytes: number
}

/** Reads one side from front to back, and of the other what belongs to it. */
class Comparing {
  readonly #streamed: Side
  readonly #isStreamedA: boolean
  readonly #pairs: ReadonlyMap<string, TensorPair>
  readonly #importanceOf: ImportanceOf
  readonly #book: TallyBook
  readonly #options: CheckedCompareOptions
  readonly #executor: LocalExecutor
  readonly #ranges: RangeReader
  readonly #pending: Pending[] = []
  #pendingBytes = 0

  constructor(
    { a, b }: Sides,
    pairs: readonly TensorPair[],
    importanceOf: ImportanceOf,
    book: TallyBook,
    options: CheckedCompareOptions,
  ) {
    // What is converted comes as its pieces do; else the larger one is read in its own order.
    this.#isStreamedA = b.targets === undefined && (a.targets !== undefined || a.opened.size >= b.opened.size)
    this.#streamed = this.#isStreamedA ? a : b
    this.#pairs = new Map(pairs.map((pair) => [pair.name, pair]))
    this.#importanceOf = importanceOf
    this.#book = book
    this.#options = options
    this.#executor = new LocalExecutor(options.threads)
    this.#executor.prepare(COST * pairs.reduce((sum, pair) => sum + elementCount(pair.a.shape), 0))
    this.#ranges = new RangeReader((this.#isStreamedA ? b : a).opened, new BufferPool(2 * WINDOW_BYTES))
  }

  async run(): Promise<void> {
    const { onProgress, signal } = this.#options
    const names = new Set(this.#pairs.keys())
    const report = onProgress && reporter('comparing', this.#streamed.opened.model.tensors, onProgress)
    try {
      for await (const slice of streamSide(this.#streamed, names, (record) => report?.(record))) {
        checkNotAborted(signal)
        this.#start(slice)
        while (this.#pendingBytes > WINDOW_BYTES && this.#pending.length > 2 * this.#executor.threads)
          await this.#next()
      }
      while (this.#pending.length > 0) await this.#next()
    } finally {
      await this.#executor.close()
      await Promise.allSettled(this.#pending.map(({ done }) => done))
    }
  }

  #start(part: SideSlice): void {
    const pair = this.#pairs.get(part.tensor.name)
    if (!pair || part.elements === 0) return
    const bytes = part.elements * 4
    const done = this.#compare(pair, part)
    // A failure is told when its turn comes.
    done.catch(() => undefined)
    this.#pending.push({ pair, done, bytes })
    this.#pendingBytes += bytes
  }

  async #next(): Promise<void> {
    const next = this.#pending.shift()
    if (!next) return
    this.#pendingBytes -= next.bytes
    const { tally, isWeighted } = await next.done
    this.#book.add(next.pair.b, tally, isWeighted)
  }

  async #compare({ name, a, b }: TensorPair, { first, elements, slice }: SideSlice): Pending['done'] {
    const other = await this.#ranges.read(name, first, elements)
    const [sliceA, sliceB]: [Slice, Slice] = this.#isStreamedA ? [slice, other] : [other, slice]
    const matrix = this.#importanceOf?.(a)
    const importance: RunImportance | undefined = matrix && (await matrixRun(matrix, a, first, elements))
    const pairs = { first, elements, rows: rowsOfTensor(b), a: sliceA, b: sliceB, importance }
    return { tally: await this.#executor.compare(pairs, name), isWeighted: matrix !== undefined }
  }
}
