import { createHash } from 'node:crypto'
import type * as BullMQ from 'bullmq'
import type { BlockReceipt, Finished, PartsPlan } from '../parts/blocks.js'
import { AprError } from '../model/errors.js'
import { openBackend, type QueueConnection } from './connection.js'
import { QUEUE_NAME } from './settings.js'

/** What a part's job carries: the plan stands once, in the job that finishes the flow. */
export interface PartData {
  readonly flow: string
  readonly unit: number
}

/** What a running part says of itself. */
export interface PartProgress {
  /** Of the output, made or found. */
  readonly bytes: number
  /** Of this worker, as it was lately. */
  readonly bytesPerSecond: number
}

export interface FinishData {
  readonly flow: string
  readonly plan: PartsPlan
}

/** What is noted at a flow's last job from outside. */
export interface FinishNote {
  readonly cancelled?: boolean
}

export type PartJob = BullMQ.Job<PartData, BlockReceipt[], string, PartProgress>
export type FinishJob = BullMQ.Job<FinishData, Finished, string, FinishNote>

/** Why a part ends whose flow has failed or was cancelled: not the reason of anything. */
export const STOPPED = 'the flow was stopped'

export const partId = (flow: string, unit: number): string => `${flow}-${unit}`
export const finishId = (flow: string): string => `${flow}-finish`

/** The same for whoever adds this plan: one that makes the same bytes somewhere else, or in other parts, is another flow. */
export function flowId({ id, output, upload, overwrite, blockBytes, units }: PartsPlan): string {
  const whole = JSON.stringify([id, output, upload, overwrite, blockBytes, units])
  return createHash('sha256').update(whole).digest('hex').slice(0, 16)
}

/** The two queues, to look at them and to add to them. */
export interface Queues {
  readonly parts: BullMQ.Queue<PartJob>
  readonly finishes: BullMQ.Queue<FinishJob>
  readonly producer: BullMQ.FlowProducer<BullMQ.IQueueBackend, unknown>
  finishOf(flow: string): Promise<FinishJob | undefined>
  close(): Promise<void>
}

/** Milliseconds for a queue to answer. */
const CONNECT_MS = 15_000

/** @throws AprError `APR_QUEUE` where nobody answers */
export async function openQueues(connection: QueueConnection, name = QUEUE_NAME): Promise<Queues> {
  const { bullmq, ...backend } = await openBackend(connection)
  const options = { connection: backend.connection }
  const parts = new bullmq.Queue<PartJob>(name, options, backend.factory as undefined)
  const finishes = new bullmq.Queue<FinishJob>(finishQueue(name), options, backend.factory as undefined)
  const producer = new bullmq.FlowProducer(options, backend.factory as undefined)
  let lastError: unknown
  // Without a listener each would end the process; what cannot be done is told by what was asked for.
  const note = (error: Error): void => void (lastError = error)
  parts.on('error', note)
  finishes.on('error', note)
  producer.on('error', note)
  const close = async (): Promise<void> => {
    await Promise.allSettled([parts.close(), finishes.close(), producer.close()])
  }
  try {
    await inTime(Promise.all([parts.waitUntilReady(), finishes.waitUntilReady(), producer.waitUntilReady()]))
  } catch (error) {
    // One that was never there has nothing to close in order.
    void Promise.allSettled([parts.disconnect(), finishes.disconnect(), producer.disconnect()])
    throw unreachable(error ?? lastError)
  }
  return {
    parts,
    finishes,
    producer: producer,
    finishOf: async (flow) => await finishes.getJob(finishId(flow)),
    close,
  }
}

export const finishQueue = (name: string): string => `${name}-finish`

/** Rejects with nothing when the time is over. */
async function inTime(work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the last error of the connection says more
    timer = setTimeout(() => reject(undefined), CONNECT_MS)
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function unreachable(cause: unknown): AprError {
  const { code, message = 'no answer' } = (cause ?? {}) as { code?: unknown; message?: string }
  // Several addresses of one name fail together, and then only the code says anything.
  const why = message === '' && typeof code === 'string' ? code : message
  return new AprError('APR_QUEUE', `expected a queue to answer, found: ${why}`, {}, { cause })
}

/** Bytes of the output that a unit makes. */
export function unitBytes({ units, blockBytes, totalBytes }: PartsPlan, unit: number): number {
  const [first = 0, end = 0] = units[unit] ?? []
  return Math.min(end * blockBytes, totalBytes) - first * blockBytes
}

/** Why a flow has failed, as its last job tells it: its own error, or the name of a part that has failed. */
export function failedBy(finish: FinishJob): string | undefined {
  // Neither is there, whatever their types say, before something went wrong.
  const { deferredFailure, failedReason, finishedOn } = finish as Partial<FinishJob>
  return deferredFailure ?? (finishedOn === undefined ? undefined : failedReason)
}

export function isCancelled({ progress }: FinishJob): boolean {
  return typeof progress === 'object' && 'cancelled' in progress
}
