/** What goes on in this process, for whoever listens: monitoring, logs, tests. Costs nothing where nobody does. */
import { channel } from 'node:diagnostics_channel'

/** A writer, of a pipeline or of a job, has claimed its output, or has given it up. */
export interface OutputMessage {
  readonly type: 'output-locked' | 'output-unlocked'
  /** Path of the output, links resolved. */
  readonly output: string
}

const diagnostics = channel('apr-stream')

/** Tells every listener, before this returns. */
export function publish(message: OutputMessage | { readonly type: 'job-start' | 'job-end' }): void {
  if (diagnostics.hasSubscribers) diagnostics.publish(message)
}
