import { imatrix, type ImatrixReport } from '../jobs/imatrix/imatrix.js'
import { printable } from '../model/errors.js'
import { runJob } from './job-command.js'
import { SCHEMA_VERSION } from './json.js'
import { bytes, plural, print, printJson } from './output.js'

export interface ImatrixFlags {
  output: string
  from: 'weights'
  pre?: string
  config?: string
  force?: boolean
  json?: boolean
  quiet?: boolean
}

export async function imatrixCommand(file: string, flags: ImatrixFlags): Promise<void> {
  const { output, from, pre, config, force } = flags
  await runJob(flags, async (job) => {
    const report = await imatrix(file, output, { from, pre, config, overwrite: force ?? false, ...job })
    return () => {
      if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, ...report })
      else if (!flags.quiet) printReport(report)
    }
  })
}

function printReport({ output, tensors, seconds, peakMemoryBytes }: ImatrixReport): void {
  print(printable(output))
  print(`  importance of the columns of ${plural(tensors, 'tensor')}, from the weights alone`)
  print(`  ${seconds.toFixed(2)} s, peak memory ${bytes(peakMemoryBytes)}`)
}
