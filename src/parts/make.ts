/**
 * Makes bytes of an output's tensors of those of its input: reads what they need and no more, converts it, quantizes it.
 * No streams: what is asked for comes in its order, whichever step is done first.
 */
import { crc32 } from '../checksum/crc32.js'
import { combineCrc32 } from '../checksum/combine.js'
import type { PlacedTensor } from '../formats/format.js'
import type { ByteSource } from '../model/byte-source.js'
import { DTYPES } from '../model/dtypes.js'
import { checkNotAborted } from '../model/errors.js'
import { elementCount, type TensorInfo } from '../model/tensor.js'
import { aprQ8Scale } from '../quant/decode.js'
import type { Kernel } from '../quant/kernel.js'
import { sumLost, type LostBlocks, type Run, type Target } from '../quant/runs/run.js'
import type { TaskResult } from '../quant/runs/task.js'
import { release } from '../records/buffers.js'
import { PieceConverter } from '../records/piece-converter.js'
import { runsOf, type ElementRange, type RecordRun } from '../records/record-runs.js'
import { resultError } from '../records/result-error.js'
import type { SourceRun } from './blocks.js'
import type { PartRange, PartTensor } from './part-tensor.js'
import { readAhead, type ReadStep } from './read-ahead.js'
import { passedBytes, stepsOf, type Step } from './steps.js'

/** Reads the rows of an importance matrix for matrices of a tensor, from `first` on. */
export type ReadImportance = (tensor: PartTensor, first: number, count: number) => Promise<Float32Array>

/** What the making takes beside what is to be made. */
export interface Workshop {
  /** By the index of the tensors' `file`. */
  readonly sources: readonly ByteSource[]
  /** Does the arithmetic of quantization; `mayOverwrite`: nobody else needs the run's bytes. */
  readonly perform: (run: Run, to: Target, tensor: string, mayOverwrite: boolean) => TaskResult | Promise<TaskResult>
  /** Of this thread, for conversions between floats. */
  readonly kernel: () => Kernel
  readonly importance: ReadImportance
  /** Whether the source has a checksum, for which its bytes are counted. */
  readonly hasChecksum: boolean
  /** Bytes that are read and converted at once, that are read ahead, and that are being quantized, at the most. */
  readonly recordBytes: number
  readonly highWaterMark: number
  readonly windowBytes: number
}

/** Bytes of the output that are made: some of `range`, from its tensor's byte `offset` on. */
export type Deliver = (range: PartRange, offset: number, bytes: Uint8Array) => void | Promise<void>

/** What was found on the way. */
export interface Made {
  /** What was read and nobody else reads for its own, where the source has a checksum. */
  readonly sources: SourceRun[]
  /** By tensor, blocks that have lost their values: each once in the whole output. */
  readonly lost: ReadonlyMap<TensorInfo, LostBlocks>
}

/** A step under way. */
interface Pending {
  readonly range: PartRange
  readonly step: Step
  readonly bytes: number
  readonly results:
    readonly { readonly run: RecordRun; readonly result: Promise<TaskResult> | TaskResult }[] | Uint8Array
}

/**
 * @param ranges in the order in which they are delivered
 * @throws AprError as reader, conversion and quantization do; the sources' own errors; an `AbortError`
 */
export async function makeRanges(
  ranges: Iterable<PartRange>,
  workshop: Workshop,
  deliver: Deliver,
  signal?: AbortSignal,
): Promise<Made> {
  return await new Making(workshop, deliver).run(ranges, signal)
}

class Making {
  readonly #workshop: Workshop
  readonly #deliver: Deliver
  readonly #converter: () => PieceConverter
  readonly #pending: Pending[] = []
  #pendingBytes = 0
  readonly #sources: { file: number; start: number; end: number; crc32: number }[] = []
  /** Whose the last of these is. */
  #counted: PlacedTensor | undefined
  readonly #lost = new Map<TensorInfo, LostBlocks>()

  constructor(workshop: Workshop, deliver: Deliver) {
    this.#workshop = workshop
    this.#deliver = deliver
    let converter: PieceConverter | undefined
    this.#converter = () => (converter ??= new PieceConverter(workshop.kernel()))
  }

  async run(ranges: Iterable<PartRange>, signal: AbortSignal | undefined): Promise<Made> {
    const { sources, recordBytes, windowBytes } = this.#workshop
    const rangeOf = new Map<Step, PartRange>()
    function* steps(): Generator<Step> {
      for (const range of ranges) {
        for (const step of stepsOf(range, recordBytes)) {
          rangeOf.set(step, range)
          yield step
        }
      }
    }
    try {
      for await (const read of readAhead(steps(), sources, this.#workshop)) {
        checkNotAborted(signal)
        const range = rangeOf.get(read.step)
        rangeOf.delete(read.step)
        if (range) await this.#start(read, range)
        while (this.#pendingBytes > windowBytes) await this.#finishOne()
      }
      while (this.#pending.length > 0) await this.#finishOne()
    } finally {
      const results = this.#pending.flatMap(({ results }) => (results instanceof Uint8Array ? [] : results))
      await Promise.allSettled(results.map(async ({ result }) => await result))
    }
    checkNotAborted(signal)
    return { sources: this.#sources, lost: this.#lost }
  }

  async #start(read: ReadStep, range: PartRange): Promise<void> {
    const { step } = read
    this.#count(read)
    const { part, elements } = step
    const data = this.#fromOf(read)
    const { conversion, from, to } = part
    if (!conversion) {
      this.#push({ range, step, bytes: data.length, results: data })
      return
    }
    const { fit, isLenient, isWeighted } = conversion
    const target = { dtype: to.dtype, fit, isLenient } as Target
    const scale = read.head && aprQ8Scale(read.head)
    const runs = runsOf(from, elements, data, { dtype: to.dtype, isWeighted }, scale)
    // A block of the source may be two steps'.
    const mayOverwrite = DTYPES[from.dtype].blockElements === 1
    const results = []
    for (const run of runs) {
      const weighted = isWeighted ? await this.#withImportance(run, part) : run.run
      const result = this.#workshop.perform(weighted, target, from.name, mayOverwrite)
      // A failure is told when the step's turn comes.
      if (result instanceof Promise) result.catch(() => undefined)
      results.push({ run, result })
    }
    this.#push({ range, step, bytes: data.length, results })
  }

  #push(pending: Pending): void {
    this.#pending.push(pending)
    this.#pendingBytes += pending.bytes
  }

  async #finishOne(): Promise<void> {
    const next = this.#pending.shift()
    if (!next) return
    const { range, step, results } = next
    if (results instanceof Uint8Array) {
      await this.#give(range, step.elements.first * passedBytes(step.part.from.dtype), results)
    } else {
      for (const { run, result } of results) await this.#giveResult(range, step, run, await result)
    }
    this.#pendingBytes -= next.bytes
  }

  async #giveResult(range: PartRange, { part, isOwn }: Step, run: RecordRun, result: TaskResult): Promise<void> {
    const { from, to, conversion } = part
    if (!('data' in result)) {
      const cure = (value: number): string =>
        (Number.isFinite(value) ? conversion?.cures.finite : conversion?.cures.infinite) ?? ''
      throw resultError(result, from, to, run, cure)
    }
    if (result.lost && isOwn) this.#lost.set(to, sumLost(this.#lost.get(to), result.lost))
    await this.#give(range, run.offset, result.data)
  }

  /** No more than what was asked for. */
  async #give(range: PartRange, offset: number, bytes: Uint8Array): Promise<void> {
    const start = Math.max(offset, range.start)
    const end = Math.min(offset + bytes.length, range.end)
    if (start < end) await this.#deliver(range, start, bytes.subarray(start - offset, end - offset))
  }

  /** The bytes of `from` that a step's elements have. */
  #fromOf({ step, data }: ReadStep): Uint8Array {
    const { part, elements } = step
    const { origin, from } = part
    if (origin instanceof Float32Array) {
      const values = origin.slice(elements.first, elements.end)
      return new Uint8Array(values.buffer)
    }
    if ('tensor' in origin) return data[0] ?? new Uint8Array(0)
    const width = DTYPES[from.dtype].blockBytes
    const all = new Uint8Array((elements.end - elements.first) * width)
    step.reads.forEach(({ source, start, piece }, i) => {
      const bytes = data[i]
      if (!piece || !bytes) return
      // Pieces look at no model.
      const record = { ...source.tensor, offset: start, data: bytes, model: undefined as never }
      for (const run of this.#converter().convert(record, [{ piece: piece.piece, target: from }])) {
        put(run.data, run.offset - elements.first * width, all)
        release(run.data)
      }
    })
    return all
  }

  async #withImportance({ run, first }: RecordRun, part: PartTensor): Promise<Run> {
    const { matrixElements, matrix, count } = matricesOf(part, { first, end: first + run.elements })
    const values = await this.#workshop.importance(part, matrix, count)
    return { ...run, importance: { values, matrixElements, inMatrix: first - matrix * matrixElements } }
  }

  #count({ step, head, data }: ReadStep): void {
    if (!this.#workshop.hasChecksum) return
    const all = step.reads.map((read, i) => ({ read, bytes: data[i] }))
    if (step.head) all.unshift({ read: step.head, bytes: head })
    for (const { read, bytes } of all) {
      const { source, start, ownStart, ownEnd } = read
      if (ownStart >= ownEnd || !bytes) continue
      const crc = crc32(bytes.subarray(ownStart - start, ownEnd - start))
      const [file, from, to] = [source.file, source.position + ownStart, source.position + ownEnd]
      const last = this.#sources.at(-1)
      // Never across tensors: each has a checksum of its own in the end.
      if (last?.file === file && last.end === from && this.#counted === source) {
        last.crc32 = combineCrc32(last.crc32, crc, to - from)
        last.end = to
      } else {
        this.#sources.push({ file, start: from, end: to, crc32: crc })
        this.#counted = source
      }
    }
  }
}

/** Which matrices of a tensor some elements are of. */
export function matricesOf(
  { from }: PartTensor,
  { first, end }: ElementRange,
): { matrixElements: number; matrix: number; count: number } {
  const matrixElements = Math.max(1, elementCount(from.shape.slice(-2)))
  const matrix = Math.floor(first / matrixElements)
  return { matrixElements, matrix, count: Math.ceil(end / matrixElements) - matrix }
}

/** Puts what of `bytes` falls into the target there. */
function put(bytes: Uint8Array, position: number, target: Uint8Array): void {
  const start = Math.max(0, -position)
  const end = Math.min(bytes.length, target.length - position)
  if (start < end) target.set(bytes.subarray(start, end), position + start)
}
