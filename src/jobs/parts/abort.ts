import type { PartsPlan } from '../../parts/blocks.js'
import { checkPlan } from './document.js'
import { closeJob } from './kept-job.js'
import { withSink } from './sink.js'

/**
 * Removes all that a plan has left, and nothing else: also not its output, where that is in its place. Who is at a part of it
 * finds that out when the next block is to be put to its place.
 */
export async function abort(plan: PartsPlan): Promise<void> {
  checkPlan(plan)
  await closeJob(plan)
  await withSink(plan, (sink) => sink.abort())
}
