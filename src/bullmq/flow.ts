import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type * as BullMQ from 'bullmq'
import { AprError, checkNotAborted, type AprErrorCode } from '../model/errors.js'
import type { Finished, PartsPlan } from '../parts/blocks.js'
import type { QueueConnection } from './connection.js'
import {
  finishId,
  finishQueue,
  flowId,
  isCancelled,
  openQueues,
  partId,
  type FinishData,
  type FinishJob,
  type PartData,
  type Queues,
} from './jobs.js'
import { partsNow, progressOf, type FlowProgress } from './progress.js'
import { FLOW_SETTINGS, QUEUE_NAME, type FlowSettings } from './settings.js'

export interface FlowOptions {
  /** Name of the queue, the same for flows and workers; `apr-stream` where not given. */
  readonly queue?: string | undefined
}

export interface WaitOptions {
  /** Ends the waiting; the flow goes on. */
  readonly signal?: AbortSignal | undefined
  /** Called about once a second. */
  readonly onProgress?: ((progress: FlowProgress) => void) | undefined
}

/** A job in a queue: parts, and what finishes it when all are there. */
export interface Flow {
  /** The same for whoever adds the same plan. */
  readonly id: string
  /**
   * What adding did: `added`; `there`, where it ran or was done already; `again`, where it had failed, and goes on from what
   * its parts have left.
   */
  readonly added: 'added' | 'there' | 'again'
  /** @throws AprError `APR_QUEUE` where the flow was cancelled meanwhile */
  progress(): Promise<FlowProgress>
  /**
   * Waits until the output is in its place.
   * @throws AprError with the code of the error with which the flow failed, or `APR_QUEUE`; an `AbortError`
   */
  wait(options?: WaitOptions): Promise<Finished>
  /**
   * Stops all of its parts, wherever they run, removes what they have left (`abort` of its plan), and forgets the flow. Where
   * it was done already the output stays.
   */
  cancel(): Promise<void>
  /** Closes the connection; the flow goes on. */
  close(): Promise<void>
}

/** What a flow needs of a plan's functions; and in tests, other times. */
export interface FlowParts {
  abort(plan: PartsPlan): Promise<unknown>
  readonly settings?: Partial<FlowSettings>
}

const POLL_MS = 1_000
/** For which a database may be away while somebody waits. */
const SILENCE_MS = 5 * 60_000
/** While it is stopped. */
const STOP_POLL_MS = 250

/** Of PostgreSQL. */
const DEADLOCK = '40P01'

export async function addFlowWith(
  functions: FlowParts,
  plan: PartsPlan,
  connection: QueueConnection,
  { queue = QUEUE_NAME }: FlowOptions = {},
): Promise<Flow> {
  const settings = { ...FLOW_SETTINGS, ...functions.settings }
  const queues = await openQueues(connection, queue)
  try {
    const added = await add(queues, plan, queue, settings)
    return flowOf(functions, queues, flowId(plan), added)
  } catch (error) {
    await queues.close()
    throw error
  }
}

async function add(queues: Queues, plan: PartsPlan, queue: string, settings: FlowSettings): Promise<Flow['added']> {
  const there = await queues.finishOf(flowId(plan))
  if (there && !(await hasEndedWithout(there))) return 'there'
  if (there) await forget(queues, there, await isStoppedByPart(there))
  await queues.producer.add(flowJob(plan, queue, settings))
  return there ? 'again' : 'added'
}

/** Ended, and there is no output. */
async function hasEndedWithout(finish: FinishJob): Promise<boolean> {
  const state = await finish.getState()
  if (state === 'failed' || isCancelled(finish)) return true
  return state === 'completed' && isMissing(finish.data.plan.output)
}

/** Of a file that can be looked at from here. */
function isMissing(output: string): boolean {
  return !/^[a-z0-9]+:\/\//i.test(output) && !existsSync(output)
}

/** Then the parts that are done stay so; where `finish` itself found something wrong with them they do not. */
async function isStoppedByPart(finish: FinishJob): Promise<boolean> {
  const { failed = 0 } = await finish.getDependenciesCount({ failed: true })
  return failed > 0 && !isCancelled(finish)
}

function flowJob(plan: PartsPlan, queue: string, settings: FlowSettings): BullMQ.FlowJob {
  const opts = {
    attempts: settings.attempts,
    backoff: { type: 'exponential', delay: settings.backoff, jitter: settings.jitter },
    removeOnComplete: { age: settings.keepDone },
  }
  const flow = flowId(plan)
  return {
    name: 'finish',
    queueName: finishQueue(queue),
    data: { flow, plan } satisfies FinishData,
    opts: { ...opts, jobId: finishId(flow) },
    children: plan.units.map((_, unit) => ({
      name: 'part',
      queueName: queue,
      data: { flow, unit } satisfies PartData,
      // Without it the flow of a part that failed would wait for ever.
      opts: { ...opts, jobId: partId(flow, unit), failParentOnFailure: true },
    })),
  }
}

export async function openFlowWith(
  functions: FlowParts,
  id: string,
  connection: QueueConnection,
  { queue = QUEUE_NAME }: FlowOptions = {},
): Promise<Flow | undefined> {
  const queues = await openQueues(connection, queue)
  if (await queues.finishOf(id)) return flowOf(functions, queues, id, 'there')
  await queues.close()
  return undefined
}

function flowOf(functions: FlowParts, queues: Queues, id: string, added: Flow['added']): Flow {
  const find = async (): Promise<FinishJob> => {
    const finish = await queues.finishOf(id)
    if (!finish) throw new AprError('APR_QUEUE', `expected flow ${id} in the queue, found none: it was cancelled`)
    return finish
  }
  const progress = async (): Promise<FlowProgress> => progressOf(queues, await find(), await partsNow(queues))
  return {
    id,
    added,
    progress,
    async wait({ signal, onProgress } = {}) {
      let lastAnswer = performance.now()
      for (;;) {
        checkNotAborted(signal)
        const now = await progress().catch((error: unknown) => {
          // A database that is started again goes on with what it had.
          if (error instanceof AprError || performance.now() - lastAnswer > SILENCE_MS) throw error
        })
        if (now) {
          lastAnswer = performance.now()
          onProgress?.(now)
          if (now.result) return now.result
          if (now.state === 'failed' && now.endedAt !== undefined) throw flowError(now)
        }
        // An abort is told above.
        await sleep(POLL_MS, undefined, signal && { signal }).catch(() => undefined)
      }
    },
    async cancel() {
      const finish = await queues.finishOf(id)
      if (!finish) return
      if ((await finish.getState()) !== 'completed') await finish.updateProgress({ cancelled: true })
      await forget(queues, finish, false, () => functions.abort(finish.data.plan))
    },
    close: () => queues.close(),
  }
}

function flowError({ output, failure }: FlowProgress): AprError {
  const where = failure?.unit === undefined ? 'its end' : `part ${failure.unit}`
  const code = (failure?.code?.startsWith('APR_') ? failure.code : 'APR_QUEUE') as AprErrorCode
  return new AprError(code, `${output}: ${where} failed: ${failure?.reason ?? 'nobody said why'}`)
}

/**
 * Takes a flow out of the queue. What waits goes at once; what runs is told by its worker's next look at the flow, and where the
 * worker is gone its lock runs out.
 */
async function forget(
  queues: Queues,
  finish: FinishJob,
  keepsDone: boolean,
  whenStopped?: () => Promise<unknown>,
): Promise<void> {
  const { flow } = finish.data
  while ((await finish.getState()) !== 'completed') {
    await unlessDeadlocked(() => finish.removeUnprocessedChildren())
    const { active } = await partsNow(queues)
    const isRunning = active.some(({ data }) => data.flow === flow) || (await finish.getState()) === 'active'
    if (!isRunning) break
    await sleep(STOP_POLL_MS)
  }
  // Completed in the last moment: then it stays.
  if ((await finish.getState()) !== 'completed') await whenStopped?.()
  const { failed = [] } = keepsDone ? await finish.getDependencies({ failed: { count: 10_000 } }) : {}
  const removals = [
    () => finish.remove({ removeChildren: !keepsDone }),
    ...failed.map((key) => () => queues.parts.remove(key.slice(key.lastIndexOf(':') + 1))),
  ]
  for (const remove of removals) while (!(await unlessDeadlocked(remove))) await sleep(STOP_POLL_MS)
}

/** PostgreSQL ends one of two that wait for each other: the other one goes on, and this one can be done again. */
async function unlessDeadlocked(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    if ((error as { code?: unknown }).code === DEADLOCK) return false
    throw error
  }
}
