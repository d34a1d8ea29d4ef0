import {
  addFlow,
  createWorkers,
  openFlow,
  startFlowPage,
  type Finished,
  type Flow,
  type FlowProgress,
  type PartsPlan,
  type QueueConnection,
  type Workers,
  type WorkersEvent,
  type WorkersJob,
} from '../bullmq/index.js'
import type { Progress } from '../jobs/job.js'
import { AprError, printable } from '../model/errors.js'
import { EXIT_CODES, interruptible } from './job-command.js'
import { SCHEMA_VERSION } from './json.js'
import { bytes, count, plural, print, printJson, UsageError, warn } from './output.js'
import { readPlan } from './parts-commands.js'

interface ConnectionFlags {
  redis?: string
  postgres?: string
  queue?: string
}

export interface QueueFlags extends ConnectionFlags {
  wait?: boolean
  cancel?: boolean
  json?: boolean
  quiet?: boolean
}

export interface UiAddress {
  readonly host: string
  readonly port: number
}

export interface WorkerFlags extends ConnectionFlags {
  concurrency?: number
  threads?: number
  ui?: UiAddress
  quiet?: boolean
}

/** @throws UsageError that does not hold the URL: it may have a password */
function connectionOf({ redis, postgres }: ConnectionFlags): QueueConnection {
  if ((redis === undefined) === (postgres === undefined)) {
    throw new UsageError(`expected --redis or --postgres, found ${redis === undefined ? 'neither' : 'both'}`)
  }
  if (redis !== undefined && !/^rediss?:\/\/./.test(redis)) throw new UsageError('--redis: expected redis://HOST')
  if (postgres !== undefined && !/^postgres(ql)?:\/\/./.test(postgres)) {
    throw new UsageError('--postgres: expected postgres://HOST/DATABASE')
  }
  return redis ?? postgres ?? ''
}

/** @throws UsageError for flags that do not go together */
export async function queueCommand(job: string, flags: QueueFlags): Promise<void> {
  const connection = connectionOf(flags)
  if (flags.wait && flags.cancel) throw new UsageError('--wait cannot be had with --cancel')
  const plan = await readPlan(job)
  const open = flags.cancel ? openFlow : addFlow
  const flow = await open(plan, connection, { queue: flags.queue })
  try {
    if (flags.cancel) await cancel(plan, flow, flags)
    else if (flow) await follow(plan, flow, flags)
  } finally {
    await flow?.close()
  }
}

async function cancel(plan: PartsPlan, flow: Flow | undefined, flags: QueueFlags): Promise<void> {
  if (!flow) throw new AprError('APR_QUEUE', 'expected a flow of this plan in the queue, found none')
  await flow.cancel()
  const parts = plan.units.length
  if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, id: plan.id, flow: flow.id, cancelled: true, parts })
  else if (!flags.quiet) print(`flow ${flow.id} is cancelled; its output stays, where it is in its place`)
}

const ADDED = { added: 'added to the queue', there: 'in the queue already', again: 'in the queue again' }

async function follow(plan: PartsPlan, flow: Flow, flags: QueueFlags): Promise<void> {
  const parts = plan.units.length
  const isTold = !flags.json && !flags.quiet
  if (isTold) print(`flow ${flow.id}: ${plural(parts, 'part')} ${ADDED[flow.added]}`)
  const finished = flags.wait ? await wait(flow, flags) : undefined
  if (flags.wait && !finished) return
  const { id } = plan
  if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, id, flow: flow.id, added: flow.added, parts, finished })
  else if (finished && isTold) {
    print(printable(finished.output))
    print(`  ${count(finished.bytes)} bytes`)
  }
}

/** @returns undefined where Ctrl-C ended the waiting */
async function wait(flow: Flow, flags: QueueFlags): Promise<Finished | undefined> {
  const { createProgressBar } = await import('./progress-bar.js')
  const bar = process.stderr.isTTY && !flags.quiet && !flags.json ? createProgressBar() : undefined
  const { signal, dispose } = interruptible()
  try {
    return await flow.wait({ signal, onProgress: (progress) => bar?.update(inBar(progress)) })
  } catch (error) {
    if (!signal.aborted) throw error
    process.exitCode = EXIT_CODES[signal.reason as keyof typeof EXIT_CODES]
    if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, error: { code: 'ABORT_ERR', message: 'interrupted' } })
    process.stderr.write('interrupted: the flow goes on; --cancel ends it\n')
    return undefined
  } finally {
    bar?.stop()
    dispose()
  }
}

/** A flow in the words of the bar. */
function inBar({ bytes: made, totalBytes, parts, partsDone, running, failing }: FlowProgress): Progress {
  const repeated = failing.length > 0 ? `, ${failing.length} failing` : ''
  const tensor = `${partsDone} of ${parts} parts, ${running.length} under way${repeated}`
  return { phase: 'writing', bytes: made, totalBytes, tensors: 0, totalTensors: 0, tensor }
}

export async function workerCommand(flags: WorkerFlags): Promise<void> {
  const connection = connectionOf(flags)
  const { queue, concurrency, threads, ui } = flags
  const onEvent = (event: WorkersEvent): void => tell(event, flags)
  const page = ui && (await startFlowPage(connection, { queue, ...ui }))
  try {
    const workers = await createWorkers(connection, { queue, concurrency, threads, onEvent })
    if (!flags.quiet) print(`ready${page ? `; ${page.url}` : ''}`)
    await untilEnded(workers, flags)
  } finally {
    await page?.close()
  }
}

/** The first signal lets parts end, the second gives them back. */
async function untilEnded(workers: Workers, flags: WorkerFlags): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let signals = 0
    const end = (name: NodeJS.Signals): void => {
      signals++
      if (signals > 2) process.exit(EXIT_CODES[name as keyof typeof EXIT_CODES])
      if (!flags.quiet)
        print(signals === 1 ? 'ending when the parts under way are done' : 'giving back what is under way')
      workers.close({ now: signals > 1 }).then(resolve, reject)
    }
    for (const name of Object.keys(EXIT_CODES)) process.on(name, end)
  })
}

function tell(event: WorkersEvent, { quiet }: WorkerFlags): void {
  if (event.type === 'trouble') warn(event.reason)
  else if (event.type === 'failed')
    warn(`${nameOf(event)}: ${event.reason}${event.isTriedAgain ? '; it is tried again' : ''}`)
  else if (quiet) return
  else if (event.type === 'stalled') print(`part ${event.job} was lost by its worker and is in the queue again`)
  else if (event.type === 'done') {
    print(`${nameOf(event)}: ${bytes(event.bytes)}, ${event.seconds.toFixed(2)} s`)
  }
}

function nameOf({ output, unit, parts }: WorkersJob): string {
  return unit === undefined ? `${output}: its end` : `${output}: part ${unit} of ${parts}`
}
