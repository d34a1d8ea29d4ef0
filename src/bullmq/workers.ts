import { hostname } from 'node:os'
import type * as BullMQ from 'bullmq'
import { AprError, abortError, printable, type AprErrorCode } from '../model/errors.js'
import type { BlockReceipt, Finished, PartsPlan } from '../parts/blocks.js'
import { openBackend, type QueueConnection } from './connection.js'
import {
  failedBy,
  finishQueue,
  isCancelled,
  openQueues,
  STOPPED,
  unitBytes,
  type FinishJob,
  type PartJob,
  type Queues,
} from './jobs.js'
import { failureText } from './progress.js'
import { FLOW_SETTINGS, QUEUE_NAME, type FlowSettings } from './settings.js'

export interface WorkersOptions {
  /** Name of the queue, the same for flows and workers; `apr-stream` where not given. */
  readonly queue?: string | undefined
  /** Parts under way at once in this process. 1 where not given: a part has threads of its own. */
  readonly concurrency?: number | undefined
  /** Threads of a part, as of `part`. */
  readonly threads?: number | undefined
  /** Is told what happens. */
  readonly onEvent?: ((event: WorkersEvent) => void) | undefined
}

export type WorkersEvent =
  /** A part, or the end of a flow where `unit` is not there, was begun, done, or has failed. */
  | (WorkersJob & { readonly type: 'begun' })
  | (WorkersJob & { readonly type: 'done'; readonly seconds: number; readonly bytes: number })
  | (WorkersJob & { readonly type: 'failed'; readonly reason: string; readonly isTriedAgain: boolean })
  /** Another worker was lost, and its part is waiting again. */
  | { readonly type: 'stalled'; readonly job: string }
  /** Of the connection: what could not be said is said again. */
  | { readonly type: 'trouble'; readonly reason: string }

export interface WorkersJob {
  readonly flow: string
  readonly output: string
  readonly unit?: number
  readonly parts: number
}

export interface Workers {
  /**
   * Takes no more parts, waits for those under way, and closes the connection.
   * @param now ends them instead, and gives them back: another worker begins them at once
   */
  close(options?: { readonly now?: boolean }): Promise<void>
}

/** What is done with a plan: the functions of `apr-stream/parts`. */
export interface PartFunctions {
  part(plan: PartsPlan, unit: number, options: PartCall): Promise<BlockReceipt[]>
  finish(plan: PartsPlan, options: { signal: AbortSignal; receipts: BlockReceipt[] }): Promise<Finished>
  /** In tests, other times. */
  readonly settings?: Partial<FlowSettings>
}

export interface PartCall {
  readonly signal: AbortSignal
  readonly threads?: number
  readonly onProgress: (progress: { readonly bytes: number }) => void
}

/** Why a part was ended from outside. */
type End = 'stopped' | 'lost' | 'given back'

/** A job that runs here. */
interface Run {
  readonly flow: string
  readonly controller: AbortController
  end: End | undefined
}

/** Errors that another try, perhaps on another machine, may not meet again. All others of ours are about the data. */
const TRIED_AGAIN: ReadonlySet<string> = new Set<AprErrorCode>(['APR_REMOTE', 'APR_WORKER', 'APR_BUSY', 'APR_NO_SPACE'])

/** Milliseconds between two words of a part about itself. */
const PROGRESS_MS = 1_000

export async function createWorkersWith(
  functions: PartFunctions,
  connection: QueueConnection,
  options: WorkersOptions = {},
): Promise<Workers> {
  const { queue = QUEUE_NAME, concurrency = 1 } = options
  const { bullmq, ...backend } = await openBackend(connection)
  const settings = { ...FLOW_SETTINGS, ...functions.settings }
  const queues = await openQueues(connection, queue)
  const running = new Running(queues, functions, options, bullmq)
  const { lockDuration, stalledInterval, maxStalledCount } = settings
  const workerOptions = {
    connection: backend.connection,
    name: `${hostname()}:${process.pid}`,
    ...{ lockDuration, stalledInterval, maxStalledCount },
  }
  const watch = setInterval(() => void running.endStopped(), stalledInterval)
  const factory = backend.factory as undefined
  const workers = [
    new bullmq.Worker(
      queue,
      (job: PartJob, token) => running.runPart(job, token),
      { ...workerOptions, concurrency },
      factory,
    ),
    new bullmq.Worker(
      finishQueue(queue),
      (job: FinishJob, token) => running.runFinish(job, token),
      workerOptions,
      factory,
    ),
  ]
  for (const worker of workers) running.listenTo(worker as BullMQ.Worker)
  return {
    async close({ now = false } = {}) {
      const closing = Promise.allSettled(workers.map((worker) => worker.close()))
      if (now) running.endAll('given back')
      await closing
      clearInterval(watch)
      await queues.close()
    },
  }
}

/** The jobs that run in this process. */
class Running {
  readonly #queues: Queues
  readonly #functions: PartFunctions
  readonly #options: WorkersOptions
  readonly #bullmq: typeof BullMQ
  /** By the job's id. A job that lost its lock may come again before its first run has ended. */
  readonly #runs = new Map<string, Run>()
  /** Bytes a second of the last part, until the next one can say its own. */
  #lastRate = 0

  constructor(queues: Queues, functions: PartFunctions, options: WorkersOptions, bullmq: typeof BullMQ) {
    this.#queues = queues
    this.#functions = functions
    this.#options = options
    this.#bullmq = bullmq
  }

  listenTo(worker: BullMQ.Worker): void {
    // The job's own signal would not tell of it.
    worker.on('lockRenewalFailed', (ids) => ids.forEach((id) => this.#end(id, 'lost')))
    worker.on('stalled', (job) => this.#tell({ type: 'stalled', job }))
    worker.on('error', (error) => this.#tell({ type: 'trouble', reason: printable(error.message, 1000) }))
    worker.on('failed', (job) => {
      // The flow has failed with it: what waits of it is not begun any more.
      if (job?.finishedOn && job.name === 'part') void this.#stopFlow((job as PartJob).data.flow)
    })
  }

  endAll(end: End): void {
    for (const id of this.#runs.keys()) this.#end(id, end)
  }

  /** Ends the parts of flows that have failed or were cancelled. */
  async endStopped(): Promise<void> {
    for (const flow of new Set([...this.#runs.values()].map((run) => run.flow))) {
      // Nobody answers: the next look is soon.
      const isOver = await this.#queues.finishOf(flow).then(isStopped, () => false)
      if (!isOver) continue
      for (const [id, run] of this.#runs) if (run.flow === flow) this.#end(id, 'stopped')
    }
  }

  async runPart(job: PartJob, token: string | undefined): Promise<BlockReceipt[]> {
    const { flow, unit } = job.data
    const { threads } = this.#options
    return this.#run(job, token, flow, async (plan, controller) => {
      const tell = this.#progressOf(job, controller.signal)
      const receipts = await this.#functions.part(plan, unit, {
        signal: controller.signal,
        ...(threads !== undefined && { threads }),
        onProgress: tell.onProgress,
      })
      this.#lastRate = tell.rate()
      return receipts
    })
  }

  async runFinish(job: FinishJob, token: string | undefined): Promise<Finished> {
    return this.#run(job, token, job.data.flow, async (plan, controller) => {
      const values: Record<string, BlockReceipt[]> = await job.getChildrenValues()
      return this.#functions.finish(plan, { signal: controller.signal, receipts: Object.values(values).flat() })
    })
  }

  async #run<Result>(
    job: PartJob | FinishJob,
    token: string | undefined,
    flow: string,
    work: (plan: PartsPlan, controller: AbortController) => Promise<Result>,
  ): Promise<Result> {
    const jobId = job.id ?? ''
    const finish = await this.#queues.finishOf(flow)
    if (!finish || isStopped(finish)) throw new this.#bullmq.UnrecoverableError(STOPPED)
    const { plan } = finish.data
    const unit = 'unit' in job.data ? job.data.unit : undefined
    const about: WorkersJob = {
      flow,
      output: printable(plan.output, 1000),
      ...(unit !== undefined && { unit }),
      parts: plan.units.length,
    }
    // One that slept, lost it, and took it again.
    this.#end(jobId, 'lost')
    const run: Run = { flow, controller: new AbortController(), end: undefined }
    this.#runs.set(jobId, run)
    const start = performance.now()
    this.#tell({ ...about, type: 'begun' })
    try {
      const result = await work(plan, run.controller)
      const seconds = (performance.now() - start) / 1000
      const bytes = unit === undefined ? plan.totalBytes : unitBytes(plan, unit)
      this.#tell({ ...about, type: 'done', seconds, bytes })
      return result
    } catch (error) {
      throw await this.#failure(error, run, job, token, about)
    } finally {
      if (this.#runs.get(jobId) === run) this.#runs.delete(jobId)
    }
  }

  /** What the queue is told of an error. */
  async #failure(
    error: unknown,
    { end }: Run,
    job: PartJob | FinishJob,
    token: string | undefined,
    about: WorkersJob,
  ): Promise<Error> {
    if (end === 'stopped') return new this.#bullmq.UnrecoverableError(STOPPED)
    if (end === 'given back') {
      await job.moveToWait(token)
      return new this.#bullmq.WaitingError()
    }
    const failed = error instanceof Error ? error : new Error(String(error))
    const text = failureText(failed)
    const isFinal = failed instanceof AprError && !TRIED_AGAIN.has(failed.code)
    const isTriedAgain = !isFinal && job.attemptsMade + 1 < (job.opts.attempts ?? 1)
    // Of one that lost its lock nobody hears any more: another worker has the part.
    if (end !== 'lost') this.#tell({ ...about, type: 'failed', reason: printable(text, 1000), isTriedAgain })
    return isFinal ? new this.#bullmq.UnrecoverableError(text) : new Error(text, { cause: failed })
  }

  /** Says now and then how far a part is. */
  #progressOf(job: PartJob, signal: AbortSignal): { onProgress: PartCall['onProgress']; rate: () => number } {
    const start = performance.now()
    const lastRate = this.#lastRate
    let [bytes, told] = [0, -Infinity]
    const rate = (): number => {
      const seconds = (performance.now() - start) / 1000
      return seconds < 1 || bytes === 0 ? lastRate : bytes / seconds
    }
    const tell = (): void => {
      told = performance.now()
      if (!signal.aborted) job.updateProgress({ bytes, bytesPerSecond: Math.round(rate()) }).catch(() => undefined)
    }
    tell()
    const onProgress: PartCall['onProgress'] = (progress) => {
      bytes = progress.bytes
      if (performance.now() - told >= PROGRESS_MS) tell()
    }
    return { onProgress, rate }
  }

  #end(id: string, end: End): void {
    const run = this.#runs.get(id)
    if (!run || run.end) return
    run.end = end
    run.controller.abort(abortError(run.controller.signal))
  }

  /** Whoever of its siblings waits is taken out of the queue; those that run look for it themselves. */
  async #stopFlow(flow: string): Promise<void> {
    try {
      await (await this.#queues.finishOf(flow))?.removeUnprocessedChildren()
    } catch {
      // They are refused when their turn comes.
    }
  }

  #tell(event: WorkersEvent): void {
    this.#options.onEvent?.(event)
  }
}

/** Failed, with or without a word of its last job; or cancelled, or gone. */
function isStopped(finish: FinishJob | undefined): boolean {
  return finish === undefined || failedBy(finish) !== undefined || isCancelled(finish)
}
