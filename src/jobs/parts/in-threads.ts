/**
 * The way of many cores: threads read, convert, fit and write parts of the output by themselves, and this one only hands out
 * and keeps count. The same bytes as by the streams, the same errors, the same journal.
 */
import type { Output } from '../../files/output/output.js'
import { localFileOf } from '../../files/local-file.js'
import type { PlacedTensor } from '../../formats/format.js'
import { formatOf } from '../../formats/formats.js'
import { AprError, abortError, checkNotAborted } from '../../model/errors.js'
import type { Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { SourceRun } from '../../parts/blocks.js'
import { matricesOf } from '../../parts/make.js'
import type { PartTensor } from '../../parts/part-tensor.js'
import { cutTasks, taskBytesFor, type CutTask } from '../../parts/threads/cut-tasks.js'
import { sourceElements } from '../../records/record-runs.js'
import {
  receiveError,
  type PartAnswer,
  type PartDone,
  type PartTask,
  type TaskRange,
  type ThreadSetup,
} from '../../parts/threads/task.js'
import { workerSource } from '../../parts/threads/worker-source.js'
import { sumLost, type LostBlocks } from '../../quant/runs/run.js'
import { kernelModule } from '../../quant/simd.js'
import { ArrivedBytes } from '../../records/arrived-bytes.js'
import { turn } from '../../streams/event-loop.js'
import { endingsOf } from '../../streams/writer.js'
import { WorkerThreads } from '../../threads/worker-threads.js'
import type { Progress } from '../job.js'
import { finishSources } from './finish-sources.js'
import { jobTensors, type JobStages, type JobTensors } from './part-tensors.js'

/** Tasks under way a thread: the next is there when one is done. */
const TASKS_PER_THREAD = 2

export interface ThreadedJob extends JobStages {
  /** The model of the output, and the output, locked. */
  readonly model: Model
  readonly target: Output
  readonly threads: number
  readonly recordBytes: number
  readonly phase: Progress['phase']
  readonly onProgress: ((progress: Progress) => void) | undefined
  /** Told at the end of each tensor some of whose blocks lost their values. */
  readonly onLost: (to: TensorInfo, lost: LostBlocks) => void
  readonly signal: AbortSignal | undefined
}

/** Makes the output and puts it in its place; closes all that the job has open, in whatever way it ends. */
export async function makeInThreads(job: ThreadedJob): Promise<void> {
  const { opened, quantization, target } = job
  try {
    await new ThreadedMaking(job).run()
  } finally {
    try {
      await target.discard()
    } finally {
      await quantization?.close?.()
      await opened.input.close()
    }
  }
}

/** What has arrived of a tensor. */
interface Arrival {
  readonly placed: PlacedTensor
  readonly bytes: ArrivedBytes
}

class ThreadedMaking {
  readonly #job: ThreadedJob
  readonly #tensors: JobTensors
  readonly #arrivals = new Map<string, Arrival>()
  readonly #lost = new Map<string, LostBlocks>()
  readonly #runs: SourceRun[] = []
  readonly #progress: InputProgress
  /** Numbers the tasks; of several that fail the first in this order is told of. */
  #failure: { readonly task: number; readonly error: unknown } | undefined

  constructor(job: ThreadedJob) {
    this.#job = job
    this.#tensors = jobTensors(job)
    this.#progress = new InputProgress(job)
  }

  async run(): Promise<void> {
    const { opened, model, target, signal } = this.#job
    const layout = formatOf(model).layout(model, target.place)
    await turn()
    const { resumed } = target
    const missing = layout.tensors.filter((placed) => this.#arrive(placed, resumed.get(placed.tensor.name)?.crc))
    await this.#make(missing)
    for (const { bytes } of this.#arrivals.values()) bytes.checkComplete()
    await finishSources(opened, this.#runs)
    checkNotAborted(signal)
    for (const { tensor } of layout.tensors) {
      const lost = this.#lost.get(tensor.name)
      if (lost) this.#job.onLost(tensor, lost)
    }
    const crc = (name: string): number => this.#arrivals.get(name)?.bytes.crc ?? 0
    await target.commit(endingsOf(layout, crc), () => checkNotAborted(signal))
  }

  /** Takes note of a tensor; whether anything is to be made of it. */
  #arrive(placed: PlacedTensor, crc: number | undefined): boolean {
    const { tensor } = placed
    const bytes = new ArrivedBytes(tensor, crc)
    this.#arrivals.set(tensor.name, { placed, bytes })
    if (crc === undefined && bytes.isComplete) this.#note(placed, bytes)
    return !bytes.isComplete
  }

  async #make(missing: readonly PlacedTensor[]): Promise<void> {
    const { opened, threads, signal } = this.#job
    const setup = await this.#setup()
    const pool = new WorkerThreads<PartTask, PartAnswer>(threads, () => ({ source: workerSource, data: setup }))
    const onAbort = (): void => {
      void pool.destroy()
    }
    signal?.addEventListener('abort', onAbort)
    const running = new Set<Promise<void>>()
    try {
      checkNotAborted(signal)
      let number = 0
      const taskBytes = taskBytesFor(opened.size, threads)
      const partOf = (tensor: TensorInfo): PartTensor => this.#tensors.of(tensor)
      for (const task of cutTasks(missing, partOf, opened.tensors, taskBytes)) {
        const done: Promise<void> = this.#perform(pool, task, number++).finally(() => running.delete(done))
        running.add(done)
        while (running.size >= threads * TASKS_PER_THREAD) await Promise.race(running)
        if (this.#failure) break
      }
      // Those handed out before the one that failed may find something before it.
      await Promise.all(running)
    } finally {
      signal?.removeEventListener('abort', onAbort)
      // No thread may write any more when the output is given up.
      await pool.destroy()
    }
    checkNotAborted(signal)
    if (this.#failure) throw this.#failure.error
  }

  /** Never fails: what does is kept. */
  async #perform(pool: WorkerThreads<PartTask, PartAnswer>, task: CutTask, number: number): Promise<void> {
    try {
      const ranges = await this.#withImportance(task.ranges)
      const answer = await run(pool, ranges)
      if ('error' in answer) throw receiveError(answer.error)
      this.#take(ranges, answer)
      this.#progress.read(task.reads)
    } catch (error) {
      const { signal } = this.#job
      const failure = signal?.aborted === true ? abortError(signal) : error
      if (!this.#failure || number < this.#failure.task) this.#failure = { task: number, error: failure }
    }
  }

  #take(ranges: readonly TaskRange[], { crcs, sources, lost }: PartDone): void {
    const { target } = this.#job
    this.#runs.push(...sources)
    for (const [index, found] of lost) {
      const name = ranges[index]?.part.to.name ?? ''
      this.#lost.set(name, sumLost(this.#lost.get(name), found))
    }
    ranges.forEach(({ part, start, end, place }, i) => {
      const arrival = place && this.#arrivals.get(part.to.name)
      if (!arrival) return
      const { bytes, placed } = arrival
      bytes.addChecked(start, end - start, crcs[i] ?? 0)
      target.wrote(end - start, placed.file)
      if (bytes.isComplete) this.#note(placed, bytes)
    })
  }

  #note({ tensor: { name, size }, file, position }: PlacedTensor, { crc }: ArrivedBytes): void {
    // The journal's own failure shows when it is closed, or in the next write.
    this.#job.target.note({ name, ...(file > 0 && { file }), position, size, crc }).catch(() => undefined)
  }

  /** With the rows of the importance matrix that each range takes. */
  async #withImportance(ranges: readonly TaskRange[]): Promise<TaskRange[]> {
    return await Promise.all(
      ranges.map(async (range) => {
        const { part, start, end } = range
        const { from, to, conversion } = part
        if (!conversion?.isWeighted) return range
        const elements = sourceElements(from, { dtype: to.dtype, isWeighted: true }, start, end)
        const { matrix: first, count } = matricesOf(part, elements)
        return { ...range, importance: { first, values: await this.#tensors.importance(part, first, count) } }
      }),
    )
  }

  async #setup(): Promise<ThreadSetup> {
    const { opened, target, recordBytes } = this.#job
    const partials = await target.partialFiles()
    return {
      kernel: kernelModule(),
      sources: opened.sources.map((source) => {
        const { name, size, identity } = source
        const path = localFileOf(source)?.path
        if (path === undefined || !identity) throw new Error('threads read local files')
        return { name, size, path, device: identity.device, inode: identity.inode }
      }),
      outputs: partials.map((partial) => ({ name: partial.path, ...partial })),
      hasChecksum: opened.hasChecksum,
      recordBytes,
    }
  }
}

async function run(pool: WorkerThreads<PartTask, PartAnswer>, ranges: readonly TaskRange[]): Promise<PartAnswer> {
  try {
    return await pool.run({ ranges })
  } catch (error) {
    const what = `expected a worker thread to finish, found that it failed: ${(error as Error).message}`
    const tensor = ranges[0]?.part.from.name
    throw new AprError('APR_WORKER', what, { tensor }, { cause: error })
  }
}

/** Counts what was read of the input, and tells of it. */
class InputProgress {
  readonly #onProgress: ThreadedJob['onProgress']
  readonly #phase: Progress['phase']
  /** Bytes of each tensor that are still to be read. */
  readonly #rest: Map<string, number>
  readonly #totalBytes: number
  readonly #totalTensors: number
  #bytes = 0
  #tensors = 0

  constructor({ opened, phase, onProgress }: ThreadedJob) {
    this.#onProgress = onProgress
    this.#phase = phase
    const { tensors } = opened.model
    this.#rest = new Map(tensors.map(({ name, size }) => [name, size]))
    this.#totalBytes = tensors.reduce((sum, { size }) => sum + size, 0)
    this.#totalTensors = tensors.length
    this.#tensors = tensors.filter(({ size }) => size === 0).length
  }

  read(reads: ReadonlyMap<string, number>): void {
    if (!this.#onProgress) return
    let tensor = ''
    for (const [name, bytes] of reads) {
      const rest = this.#rest.get(name) ?? 0
      const read = Math.min(rest, bytes)
      this.#rest.set(name, rest - read)
      this.#bytes += read
      if (rest > 0 && read === rest) this.#tensors++
      tensor = name
    }
    const [bytes, totalBytes] = [this.#bytes, this.#totalBytes]
    const [tensors, totalTensors] = [this.#tensors, this.#totalTensors]
    this.#onProgress({ phase: this.#phase, bytes, totalBytes, tensors, totalTensors, tensor })
  }
}
