import { printable } from '../model/errors.js'
import type { Finished, PartsPlan } from '../parts/blocks.js'
import { failedBy, isCancelled, STOPPED, unitBytes, type FinishJob, type PartJob, type Queues } from './jobs.js'

export type FlowState = 'waiting' | 'running' | 'finishing' | 'done' | 'failed' | 'cancelled'

/** How far a flow is. Plain data, without secrets. */
export interface FlowProgress {
  readonly id: string
  readonly input: string
  readonly output: string
  readonly state: FlowState
  readonly parts: number
  readonly partsDone: number
  /** Of the output: what parts have made, those under way with what they have so far. */
  readonly bytes: number
  readonly totalBytes: number
  /** Of all workers together, as they were lately. */
  readonly bytesPerSecond: number
  /** At this rate; not there where there is none. */
  readonly secondsLeft?: number
  readonly running: readonly RunningPart[]
  /** Parts that are tried again after an error. */
  readonly failing: readonly FailingPart[]
  /** Why the flow failed. */
  readonly failure?: FlowFailure
  /** Milliseconds since 1970, by the clock of who added it. */
  readonly addedAt: number
  readonly endedAt?: number
  /** What `finish` told. */
  readonly result?: Finished
}

export interface RunningPart {
  readonly unit: number
  /** Host name and process. */
  readonly worker: string
  readonly bytes: number
  readonly totalBytes: number
  readonly bytesPerSecond: number
}

export interface FailingPart {
  readonly unit: number
  /** How often it was tried, and how often it may be. */
  readonly attempts: number
  readonly maxAttempts: number
  readonly reason: string
}

export interface FlowFailure {
  /** Not there where `finish` failed, or nobody can say. */
  readonly unit?: number
  /** Code of the error, where it has one. */
  readonly code?: string
  readonly reason: string
}

/** The parts of all flows that are under way, read once for all. */
export interface PartsNow {
  readonly active: readonly PartJob[]
  readonly repeated: readonly PartJob[]
}

export async function partsNow({ parts }: Queues): Promise<PartsNow> {
  const [active, delayed] = await Promise.all([parts.getActive(), parts.getDelayed()])
  // A part that ends between two reads of the queue has no data any more.
  const present = (jobs: unknown[]): PartJob[] => (jobs as (PartJob | undefined)[]).filter((job) => job !== undefined)
  const running = present(active)
  return { active: running, repeated: [...present(delayed), ...running.filter(({ attemptsMade }) => attemptsMade > 0)] }
}

export async function progressOf(queues: Queues, finish: FinishJob, now: PartsNow): Promise<FlowProgress> {
  const { flow, plan } = finish.data
  const [counts, state] = await Promise.all([finish.getDependenciesCount(), finish.getState()])
  const isOurs = ({ data }: PartJob): boolean => data.flow === flow
  const running = now.active.filter(isOurs).map(({ data: { unit }, progress, processedBy }): RunningPart => ({
    unit,
    worker: printable(processedBy ?? ''),
    bytes: typeof progress === 'object' ? progress.bytes : 0,
    totalBytes: unitBytes(plan, unit),
    bytesPerSecond: typeof progress === 'object' ? progress.bytesPerSecond : 0,
  }))
  const partsDone = counts.processed ?? 0
  const isDone = state === 'completed'
  const failure = await failureOf(queues, finish)
  const bytes = isDone ? plan.totalBytes : bytesMade(plan, partsDone, running)
  const bytesPerSecond = running.reduce((sum, part) => sum + part.bytesPerSecond, 0)
  return {
    id: flow,
    input: printable(plan.input, 1000),
    output: printable(plan.output, 1000),
    state: stateOf(finish, state, running.length + partsDone > 0),
    parts: plan.units.length,
    partsDone,
    bytes,
    totalBytes: plan.totalBytes,
    bytesPerSecond,
    ...(bytesPerSecond > 0 && { secondsLeft: (plan.totalBytes - bytes) / bytesPerSecond }),
    running,
    failing: now.repeated.filter(isOurs).map(({ data: { unit }, attemptsMade, opts, failedReason }) => ({
      unit,
      attempts: attemptsMade,
      maxAttempts: opts.attempts ?? 1,
      reason: printable(failedReason, 1000),
    })),
    ...(failure && { failure }),
    addedAt: finish.timestamp,
    ...(finish.finishedOn !== undefined && { endedAt: finish.finishedOn }),
    ...(isDone && { result: finish.returnvalue }),
  }
}

function stateOf(finish: FinishJob, state: string, hasBegun: boolean): FlowState {
  if (state === 'completed') return 'done'
  if (isCancelled(finish)) return 'cancelled'
  if (state === 'failed' || failedBy(finish) !== undefined) return 'failed'
  if (state !== 'waiting-children') return 'finishing'
  return hasBegun ? 'running' : 'waiting'
}

/** Units differ by a block at the most: so does this from what it is. */
function bytesMade(plan: PartsPlan, partsDone: number, running: readonly RunningPart[]): number {
  const all = plan.units.reduce((sum, _, unit) => sum + unitBytes(plan, unit), 0)
  const underWay = running.reduce((sum, { bytes }) => sum + bytes, 0)
  return Math.min(plan.totalBytes, Math.round((all / plan.units.length) * partsDone) + underWay)
}

/** The part that failed first, of those that failed by themselves. */
async function failureOf({ parts }: Queues, finish: FinishJob): Promise<FlowFailure | undefined> {
  const why = failedBy(finish)
  if (why === undefined) return undefined
  const { failed = [] } = await finish.getDependencies({ failed: { count: 100 } })
  const jobs = await Promise.all(failed.map((key) => parts.getJob(key.slice(key.lastIndexOf(':') + 1))))
  const [first] = jobs
    .filter((job) => job !== undefined)
    .filter(({ failedReason }) => failedReason !== STOPPED)
    .sort((a, b) => (a.finishedOn ?? 0) - (b.finishedOn ?? 0))
  if (first) return { unit: first.data.unit, ...codeAndReason(first.failedReason) }
  return codeAndReason(why)
}

/** A failed job keeps a text only: our errors stand there as `CODE: message`. */
export function failureText(error: { readonly code?: unknown; readonly message: string }): string {
  return typeof error.code === 'string' && error.code !== '' ? `${error.code}: ${error.message}` : error.message
}

function codeAndReason(text: string): FlowFailure {
  const [, code, reason = text] = /^([A-Z][A-Z_]+): (.*)$/s.exec(text) ?? []
  return { ...(code !== undefined && { code }), reason: printable(reason, 1000) }
}
