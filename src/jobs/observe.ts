/** Tells those who listen that a job starts and how it ends. */
import { withoutSecrets } from '../remote/address.js'
import { publish, type OutputMessage } from '../files/diagnostics.js'
import type { ConvertReport } from './conversion/conversion.js'
import type { QuantizeReport } from './job.js'

interface Job {
  /** Numbers the calls of this process, from 1 on. */
  readonly job: number
  /** Path or name of the input, and path of the output, as they were given. */
  readonly input: string
  readonly output: string
}

/** `quantize` or `convert` was called; nothing is checked or opened yet. */
export interface JobStartMessage extends Job {
  readonly type: 'job-start'
}

/** The call has ended and everything is closed: with a report or with an error. */
export interface JobEndMessage extends Job {
  readonly type: 'job-end'
  readonly report?: QuantizeReport | ConvertReport
  readonly error?: unknown
}

/** What is published on the channel `apr-stream`. */
export type DiagnosticsMessage = OutputMessage | JobStartMessage | JobEndMessage

let jobs = 0

/** Runs a job between the messages of its start and its end. */
export async function observed<Report extends QuantizeReport | ConvertReport>(
  input: unknown,
  output: unknown,
  run: () => Promise<Report>,
): Promise<Report> {
  const isSource = typeof input === 'object' && input !== null && 'name' in input
  const job: Job = { job: ++jobs, input: withoutSecrets(String(isSource ? input.name : input)), output: String(output) }
  tell({ type: 'job-start', ...job })
  try {
    const report = await run()
    tell({ type: 'job-end', ...job, report })
    return report
  } catch (error) {
    tell({ type: 'job-end', ...job, error })
    throw error
  }
}

function tell(message: DiagnosticsMessage): void {
  publish(message)
}
