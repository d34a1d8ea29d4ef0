/** Who does the arithmetic: this thread for little work, a pool of worker threads for much. The bytes are the same. */
import { availableParallelism } from 'node:os'
import { AprError } from '../model/errors.js'
import type { Run, Target } from '../quant/runs/run.js'
import { isInPlace, resultBytes } from '../quant/runs/task.js'
import type { Pairs } from '../quality/pairs.js'
import type { Tally } from '../quality/tally.js'
import { disown, release, type BufferPool } from '../records/buffers.js'
import { Performer, type ConvertResult, type ConvertTask, type PairsResult, type RunPlace } from './tasks.js'
import { ThreadPool } from './thread-pool.js'

/** Runs up to this many elements are done here and now: 0.2 ms, about what a message to a thread and back costs. */
const SMALL_ELEMENTS = 16 * 1024
/** A thread is started for so many elements of a search: 50 ms of work, a few times what starting it costs. */
const ELEMENTS_PER_THREAD = 4 * 1024 * 1024

/** Bytes of the pieces that small results share. */
const SPARE_BYTES = 64 * 1024

/** A piece of work, and whose it is. */
export interface Work {
  readonly run: Run
  readonly to: Target
  /** What the run's data is, or is a part of; used up where it is a pool's. */
  readonly data: Uint8Array
  /** Name of its tensor, for the error. */
  readonly tensor: string
  /** Where figures are wanted of what becomes of the run: where it stands. */
  readonly place?: RunPlace | undefined
}

/** Who does the arithmetic. The bytes are the same, whoever it is. */
export interface Executor {
  /** How many pieces of work it does at the same time; 0 when it is done in the call. */
  readonly threads: number
  /** Says how much is to be done in all, before the first piece: as many elements of a search for scales. */
  prepare(elements: number): void
  /** @throws AprError `APR_WORKER` when it could not be done */
  perform(work: Work): Promise<ConvertResult>
  /**
   * Figures of pairs; their memory is used up where it is a pool's.
   * @param tensor its name, for the error
   * @throws AprError `APR_WORKER` when it could not be done
   */
  compare(pairs: Pairs, tensor: string): Promise<Tally>
  /** Ends it; work that is under way fails. */
  close(): Promise<void>
}

/** This thread for little work, and threads of this process for much. */
export class LocalExecutor implements Executor {
  readonly #maxThreads: number
  #threads = 0
  #pool: ThreadPool | undefined
  readonly #performer = new Performer()
  #rest = new Uint8Array(0)
  #isClosed = false

  /** @param threads the most that may be used; default: as many as the machine has for this process */
  constructor(threads = availableParallelism()) {
    this.#maxThreads = threads
  }

  /** How many threads do the work: no more than there is work for; 0 when it is done on this one. */
  get threads(): number {
    return this.#threads
  }

  prepare(elements: number): void {
    this.#threads = threadsFor(elements, this.#maxThreads)
  }

  async perform({ run, to, data, tensor, place }: Work): Promise<ConvertResult> {
    const owner = disown(data)
    // Only a buffer of our own may be overwritten; nobody else holds it.
    const task: ConvertTask = { run, to, mayOverwrite: owner !== undefined, ...(place && { place }) }
    // Asked now: what is moved to a thread is no longer there to ask.
    const keeper = isInPlace(task) ? owner : undefined
    if (this.#threads === 0 || run.elements <= SMALL_ELEMENTS) {
      return adopted(this.#performer.convert(task, this.#spare(resultBytes(run, to))), keeper)
    }
    const sent = owner ? task : copied(task)
    const sentTo = { transferList: [sent.run.data.buffer as ArrayBuffer] }
    return adopted(await this.#inThread((pool) => pool.run(sent, sentTo), tensor), keeper)
  }

  async compare(pairs: Pairs, tensor: string): Promise<Tally> {
    const { a, b } = pairs
    const [ownerA, ownerB] = [disown(a.data), a.data === b.data ? undefined : disown(b.data)]
    const back = (result: PairsResult): Tally => {
      if (ownerA) release(ownerA.adopt(result.a.buffer as ArrayBuffer, result.a.length))
      if (ownerB) release(ownerB.adopt(result.b.buffer as ArrayBuffer, result.b.length))
      return result.tally
    }
    if (this.#threads === 0 || pairs.elements <= SMALL_ELEMENTS) return back(this.#performer.compare({ pairs }))
    const sent = { ...pairs, a: { ...a, data: ownerA ? a.data : new Uint8Array(a.data) }, b }
    sent.b = a.data === b.data ? { ...b, data: sent.a.data } : { ...b, data: ownerB ? b.data : new Uint8Array(b.data) }
    const transferList = [...new Set([sent.a.data.buffer as ArrayBuffer, sent.b.data.buffer as ArrayBuffer])]
    return back(await this.#inThread((pool) => pool.run({ pairs: sent }, { transferList }), tensor))
  }

  async #inThread<Result>(work: (pool: ThreadPool) => Promise<Result>, tensor: string): Promise<Result> {
    try {
      if (this.#isClosed) throw new Error('the threads were ended')
      return await work((this.#pool ??= new ThreadPool(this.#threads)))
    } catch (error) {
      throw new AprError(
        'APR_WORKER',
        `expected a worker thread to finish, found that it failed: ${(error as Error).message}`,
        { tensor },
        { cause: error },
      )
    }
  }

  /** Memory for a small result, cut from a larger piece: thousands of tiny buffers would keep the collector busy. */
  #spare(size: number): Uint8Array | undefined {
    if (size > SPARE_BYTES) return undefined
    if (size > this.#rest.length) this.#rest = new Uint8Array(SPARE_BYTES)
    const spare = this.#rest.subarray(0, size)
    this.#rest = this.#rest.subarray(size)
    return spare
  }

  /** Ends all threads; tasks that are under way fail. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#pool?.destroy()
  }
}

/**
 * How many threads so much work takes: none when it is done before they were started.
 * @param elements as of a search for scales
 */
export function threadsFor(elements: number, maxThreads = availableParallelism()): number {
  return Math.min(maxThreads, Math.floor(elements / ELEMENTS_PER_THREAD))
}

/** A task with memory of its own: a view that is sent as it is takes all of its buffer along, however large that is. */
function copied(task: ConvertTask): ConvertTask {
  return { ...task, run: { ...task.run, data: new Uint8Array(task.run.data) }, mayOverwrite: true }
}

/** A result in the source's own buffer keeps that buffer in its pool. */
function adopted(result: ConvertResult, keeper: BufferPool | undefined): ConvertResult {
  if (!keeper || !('data' in result) || result.data.byteOffset !== 0) return result
  return { ...result, data: keeper.adopt(result.data.buffer as ArrayBuffer, result.data.length) }
}
