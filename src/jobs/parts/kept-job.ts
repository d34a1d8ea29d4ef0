/** The job of a plan, opened: the one that was opened last is kept, so that many units cost one opening. */
import { AprError, printable } from '../../model/errors.js'
import type { PartsPlan } from '../../parts/blocks.js'
import { openJob, type OpenedJob } from './opened-job.js'
import { jobOptions } from './options.js'

interface Kept {
  readonly plan: string
  readonly job: Promise<OpenedJob>
  /** Who works on it now. */
  users: number
  /** Whether nobody else is to work on it. */
  isOver: boolean
}

let kept: Kept | undefined

/**
 * Works on the job of a plan.
 * @throws AprError `APR_SOURCE_CHANGED` where what would be made now is not what was planned
 */
export async function withJob<T>(
  plan: PartsPlan,
  threads: number | undefined,
  work: (job: OpenedJob) => Promise<T>,
): Promise<T> {
  const key = JSON.stringify([plan.id, plan.input, plan.output, plan.options, plan.totalBytes, threads])
  if (kept?.plan !== key) {
    letGo()
    kept = { plan: key, job: openPlanned(plan, threads), users: 0, isOver: false }
  }
  const own = kept
  own.users++
  try {
    const job = await own.job
    const result = await work(job)
    await checkUnchanged(job, plan)
    return result
  } catch (error) {
    // The next one opens it anew: what it was opened from may have been mended.
    if (kept === own) letGo()
    throw error
  } finally {
    own.users--
    if (own.isOver) await closeUnused(own)
  }
}

/** Closes the job of a plan, when nobody works on it any longer. */
export async function closeJob(plan: PartsPlan): Promise<void> {
  if (kept && (JSON.parse(kept.plan) as unknown[])[0] === plan.id) {
    const own = kept
    kept = undefined
    own.isOver = true
    await closeUnused(own)
  }
}

/** @throws AprError `APR_SOURCE_CHANGED` also where the input knows that as a change while it was read */
async function checkUnchanged(job: OpenedJob, { input }: PartsPlan): Promise<void> {
  await job.checkUnchanged().catch((error: unknown) => {
    if (!(error instanceof AprError) || error.code === 'APR_SOURCE_CHANGED') throw error
    throw new AprError('APR_SOURCE_CHANGED', error.what, { file: error.file ?? input }, { cause: error })
  })
}

function letGo(): void {
  if (!kept) return
  kept.isOver = true
  // Who works on it closes it.
  void closeUnused(kept).catch(() => undefined)
  kept = undefined
}

async function closeUnused({ users, job }: Kept): Promise<void> {
  if (users > 0) return
  const opened = await job.catch(() => undefined)
  await opened?.close()
}

async function openPlanned(plan: PartsPlan, threads: number | undefined): Promise<OpenedJob> {
  const job = await openJob(plan.input, plan.output, await jobOptions(plan.options, threads))
  if (job.id.startsWith(plan.id) && job.fileSize === plan.totalBytes) return job
  await job.close()
  const now = new Map(job.sources.map((source) => [source.name, source]))
  const changed = plan.sources.find(({ name, version }) => now.get(name)?.version !== version)
  const found = changed ? `"${printable(changed.name)}" changed` : 'another one'
  const what = `expected the input that the plan ${plan.id} was made of, found ${found}; plan again`
  throw new AprError('APR_SOURCE_CHANGED', what, { file: plan.input })
}
