/** What the commands that write a model have in common. */
import type { ConvertOptions } from '../jobs/conversion/conversion.js'
import type { FormatName } from '../model/model.js'
import { inFlags } from './flags.js'
import { SCHEMA_VERSION } from './json.js'
import { printJson } from './output.js'

export interface OutputFlags {
  output?: string
  to?: FormatName
  pre?: string
  config?: string
  splitMaxSize?: number
  plan?: boolean
  json?: boolean
  force?: boolean
  spaceCheck: boolean
  resume?: boolean
  quiet?: boolean
}

/** As shells tell a process that a signal ended: 128 and the signal's number. */
export const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 }

/** The options of the library that these flags are. */
export function outputOptions({
  to,
  pre,
  config,
  splitMaxSize,
  force,
  spaceCheck,
  resume,
}: OutputFlags): ConvertOptions {
  return {
    to,
    pre,
    config,
    splitMaxBytes: splitMaxSize,
    overwrite: force ?? false,
    spaceCheck,
    resume: resume ?? false,
  }
}

/**
 * Runs a job with a bar, where one is seen, until it is done or interrupted.
 * @param work the job; what it gives is called when the bar is gone
 * @param left what is said of one that was interrupted, where that is no matter of flags
 */
export async function runJob(
  flags: Partial<OutputFlags> & { compat?: 'apr' },
  work: (options: Pick<ConvertOptions, 'signal' | 'onProgress'>) => Promise<() => void>,
  left?: string,
): Promise<void> {
  const { createProgressBar } = await import('./progress-bar.js')
  const isShown = process.stderr.isTTY && !flags.quiet && !flags.json
  const bar = isShown ? createProgressBar() : undefined
  const { signal, dispose } = interruptible()
  try {
    const report = await work({ signal, ...(bar && { onProgress: bar.update }) })
    bar?.stop()
    report()
  } catch (error) {
    bar?.stop()
    if (!signal.aborted) throw inFlags(error, flags)
    process.exitCode = EXIT_CODES[signal.reason as keyof typeof EXIT_CODES]
    if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, error: { code: 'ABORT_ERR', message: 'interrupted' } })
    process.stderr.write(
      `interrupted: ${left ?? (flags.resume ? '--resume goes on from here' : 'nothing was written')}\n`,
    )
  } finally {
    dispose()
  }
}

/** A signal that Ctrl-C aborts, with its name as the reason, as other ends do. A second one ends the process at once. */
export function interruptible(): { signal: AbortSignal; dispose: () => void } {
  const controller = new AbortController()
  const interrupt = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(EXIT_CODES[name as keyof typeof EXIT_CODES])
    controller.abort(name)
  }
  const names = Object.keys(EXIT_CODES)
  for (const name of names) process.on(name, interrupt)
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of names) process.off(name, interrupt)
    },
  }
}
