/** `apr-stream/bullmq`: the parts of a model as a flow of jobs in a queue, made by workers on any number of machines. */
import { abort } from '../jobs/parts/abort.js'
import { checkPlan } from '../jobs/parts/document.js'
import { finish } from '../jobs/parts/finish.js'
import { part } from '../jobs/parts/part.js'
import { checkOptions } from '../options/check.js'
import { FLOW_OPTIONS, FLOW_PAGE_OPTIONS, WORKERS_OPTIONS } from '../options/flows-table.js'
import type { PartsPlan } from '../parts/blocks.js'
import type { QueueConnection } from './connection.js'
import { addFlowWith, openFlowWith, type Flow, type FlowOptions } from './flow.js'
import { flowId } from './jobs.js'
import { startPageWith, type FlowPage, type FlowPageOptions } from './page/server.js'
import { createWorkersWith, type Workers, type WorkersOptions } from './workers.js'

export { FLOW_SETTINGS } from './settings.js'
export type { QueueConnection } from './connection.js'
export type { Flow, FlowOptions, WaitOptions } from './flow.js'
export type { FailingPart, FlowFailure, FlowProgress, FlowState, RunningPart } from './progress.js'
export type { FlowPage, FlowPageOptions } from './page/server.js'
export type { Workers, WorkersEvent, WorkersJob, WorkersOptions } from './workers.js'
export type { BlockReceipt, Finished, PartsPlan, PlannedSource, SourceRun } from '../parts/blocks.js'

/**
 * Adds a job in parts to the queue: a part for each unit of its plan, and what finishes it when they are done. Adding the same
 * plan again adds nothing while the flow is there; one that has failed goes on, from what its parts have left.
 *
 * @param plan as `plan` of `apr-stream/parts` makes it; it stands in the queue, and holds no secrets
 * @throws AprError `APR_BAD_OPTION`, `APR_UNSUPPORTED` for a plan of another version or where BullMQ is not installed,
 *   `APR_QUEUE` where nobody answers
 */
export async function addFlow(plan: PartsPlan, connection: QueueConnection, options: FlowOptions = {}): Promise<Flow> {
  return addFlowWith({ abort }, checkPlan(plan), connection, checkOptions(options, FLOW_OPTIONS))
}

/**
 * A flow that somebody has added.
 * @param plan its plan, or the flow's id
 * @returns undefined where there is none: it was cancelled, or done more than a week ago
 * @throws AprError as `addFlow`
 */
export async function openFlow(
  plan: PartsPlan | string,
  connection: QueueConnection,
  options: FlowOptions = {},
): Promise<Flow | undefined> {
  const id = typeof plan === 'string' ? plan : flowId(checkPlan(plan))
  return openFlowWith({ abort }, id, connection, checkOptions(options, FLOW_OPTIONS))
}

/**
 * Makes parts of whatever flows are in the queue, until it is closed. Start as many processes as there are machines.
 * @throws AprError `APR_BAD_OPTION`, `APR_UNSUPPORTED` where BullMQ is not installed, `APR_QUEUE` where nobody answers
 */
export async function createWorkers(connection: QueueConnection, options: WorkersOptions = {}): Promise<Workers> {
  return createWorkersWith({ part, finish }, connection, checkOptions(options, WORKERS_OPTIONS))
}

/**
 * A page with all flows of a queue, for a browser: how far they are, what fails, who works on what.
 * @throws AprError as `createWorkers`; the system's own errors, as `EADDRINUSE`
 */
export async function startFlowPage(connection: QueueConnection, options: FlowPageOptions = {}): Promise<FlowPage> {
  return startPageWith(connection, checkOptions(options, FLOW_PAGE_OPTIONS))
}
