/** Cuts a job into tasks for threads: enough in each that nothing is made twice and a message costs nothing. */
import type { PlacedTensor } from '../../formats/format.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { PartRange, PartTensor, SourcePiece } from '../part-tensor.js'
import { cutRanges, ownReads } from '../steps.js'
import type { TaskRange } from './task.js'

/** Bytes of the input that a task is made of, about, at the most: a tenth of a second of a search, milliseconds of a copy. */
const MAX_TASK_BYTES = 16 * 1024 * 1024
/** And at the least: below it the message counts. */
const MIN_TASK_BYTES = 256 * 1024
/** So many tasks a thread at least, so that all end at about the same time. */
const TASKS_PER_THREAD = 8

/** Bytes of the input that a task is made of, about. */
export function taskBytesFor(inputBytes: number, threads: number): number {
  return Math.min(MAX_TASK_BYTES, Math.max(MIN_TASK_BYTES, Math.ceil(inputBytes / threads / TASKS_PER_THREAD)))
}

/** Ranges of a task at the most: tensors of a few bytes have names as well. */
const MAX_RANGES = 512

/** A task, before it is sent. */
export interface CutTask {
  readonly ranges: readonly TaskRange[]
  /** By tensor of the input, bytes of it that this task reads and no other does. */
  readonly reads: ReadonlyMap<string, number>
}

/**
 * Tasks for tensors of the output, in their order; behind them what of the input no tensor is made of, which is only read.
 * @param tensors of the output that are to be made
 * @param partOf says what one is made of
 * @param inputs all tensors of the input
 * @param taskBytes of the input that a task is made of, about
 */
export function* cutTasks(
  tensors: Iterable<PlacedTensor>,
  partOf: (tensor: TensorInfo) => PartTensor,
  inputs: readonly PlacedTensor[],
  taskBytes: number,
): Generator<CutTask> {
  const gathering = new Gathering(taskBytes)
  const used = new Map<string, { start: number; end: number }[]>()
  for (const { tensor, file, position, padding } of tensors) {
    if (tensor.size === 0) continue
    const place = { file, position, padding }
    for (const range of cutRanges(partOf(tensor), taskBytes)) {
      for (const { source, ownStart, ownEnd } of ownReads(range)) {
        if (ownStart >= ownEnd) continue
        const { name } = source.tensor
        gathering.count(name, ownEnd - ownStart)
        const ranges = used.get(name)
        if (ranges) ranges.push({ start: ownStart, end: ownEnd })
        else used.set(name, [{ start: ownStart, end: ownEnd }])
      }
      gathering.add({ ...narrowed(range), place })
      if (gathering.isFull) yield gathering.take()
    }
  }
  for (const placed of inputs) {
    const { tensor } = placed
    const part = { to: tensor, from: tensor, origin: placed }
    for (const { start, end } of unused(used.get(tensor.name) ?? [], tensor.size)) {
      for (let from = start; from < end; from += taskBytes) {
        const to = Math.min(end, from + taskBytes)
        gathering.count(tensor.name, to - from)
        gathering.add({ part, start: from, end: to, place: undefined })
        if (gathering.isFull) yield gathering.take()
      }
    }
  }
  if (!gathering.isEmpty) yield gathering.take()
}

class Gathering {
  #ranges: TaskRange[] = []
  #reads = new Map<string, number>()
  #bytes = 0
  readonly #taskBytes: number

  constructor(taskBytes: number) {
    this.#taskBytes = taskBytes
  }

  get isEmpty(): boolean {
    return this.#ranges.length === 0
  }

  get isFull(): boolean {
    return this.#bytes >= this.#taskBytes || this.#ranges.length >= MAX_RANGES
  }

  count(name: string, bytes: number): void {
    this.#reads.set(name, (this.#reads.get(name) ?? 0) + bytes)
    this.#bytes += bytes
  }

  add(range: TaskRange): void {
    this.#ranges.push(range)
  }

  take(): CutTask {
    const task = { ranges: this.#ranges, reads: this.#reads }
    this.#ranges = []
    this.#reads = new Map()
    this.#bytes = 0
    return task
  }
}

/** Without the pieces that are for other ranges: of stacked experts a tensor has hundreds. */
function narrowed(range: PartRange): PartRange {
  const { origin } = range.part
  if (!Array.isArray(origin)) return range
  const here = new Set(Array.from(ownReads(range), ({ piece }) => piece))
  return { ...range, part: { ...range.part, origin: (origin as SourcePiece[]).filter((piece) => here.has(piece)) } }
}

/** What these ranges leave of so many bytes. */
function* unused(
  ranges: readonly { start: number; end: number }[],
  size: number,
): Generator<{ start: number; end: number }> {
  let done = 0
  for (const { start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    if (start > done) yield { start: done, end: start }
    done = Math.max(done, end)
  }
  if (done < size) yield { start: done, end: size }
}
