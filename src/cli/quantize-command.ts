import { statSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { plan, type Plan } from '../jobs/plan.js'
import type { QuantizeOptions, QuantizeReport } from '../jobs/job.js'
import type { Fit } from '../quant/kernel.js'
import { selectAsApr, selectByDefault, type Kept } from '../quant/policy.js'
import { printable } from '../model/errors.js'
import type { Decision } from '../streams/quantize/quantization.js'
import { inFlags } from './flags.js'
import { SCHEMA_VERSION } from './json.js'
import { selectByPatterns } from './patterns.js'
import { outputOptions, runJob, type OutputFlags } from './job-command.js'
import { bytes, columns, count, plural, print, printJson, sizeChange, UsageError, warn } from './output.js'
import type { FormatName } from '../jobs/conversion/ways.js'

export interface QuantizeFlags extends OutputFlags {
  fit?: Fit
  kept?: Kept
  compat?: 'apr'
  mode: 'auto' | 'stream' | 'memory'
  only?: string[]
  skip?: string[]
  strict?: boolean
  threads?: number
}

const SHOWN_TENSORS = 20

const REASONS: Record<Decision['reason'], string> = {
  selected: 'quantized',
  dtype: 'kept: holds integers',
  quantized: 'kept: is quantized already',
  tied: 'kept: stands for a tied tensor',
  rank: 'kept: has fewer than 2 dimensions',
  size: 'kept: has fewer than 256 elements',
  name: 'kept: is a bias, norm, scale or embedding by its name',
  width: 'kept: has rows that are no multiple of 256 elements, which GGUF cannot hold as Q4_K',
  user: 'kept: not selected',
  rule: 'by the recipe',
  pattern: 'by a pattern',
  option: 'by an option',
  fallback: 'by the recipe, in blocks that fit its rows',
  excluded: 'kept: no recipe touches it',
}

/** @throws UsageError for flags that do not go together */
export async function quantizeCommand(file: string, flags: QuantizeFlags): Promise<void> {
  const output = flags.output ?? defaultOutput(file, flags.to)
  const options = await toOptions(flags)
  if (flags.plan) {
    // A plan makes little that lasts: a young generation that stays small keeps all of it below 100 MB.
    setFlagsFromString('--semi-space-growth-factor=1')
    const result = await plan(file, { ...options, output }).catch((error: unknown) => {
      throw inFlags(error, flags)
    })
    if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, output, ...result })
    else if (!flags.quiet) printPlan(result, output)
    if (!flags.quiet) result.warnings.forEach(warn)
    return
  }
  // Loaded only now: a plan needs neither streams nor a bar, and stays small.
  const { quantize } = await import('../jobs/quantize.js')
  await runJob(flags, async (job) => {
    const report = await quantize(file, output, { ...options, ...job })
    return () => {
      if (!flags.quiet) report.warnings.forEach(warn)
      if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, ...report })
      else if (!flags.quiet) printReport(report)
    }
  })
}

async function toOptions(flags: QuantizeFlags): Promise<QuantizeOptions> {
  const { compat, only, skip, mode } = flags
  if (flags.resume && mode === 'memory')
    throw new UsageError('--resume goes on with a stream; it cannot be had with --mode memory')
  if (compat && (flags.fit === 'search' || (flags.kept && flags.kept !== 'f32'))) {
    throw new UsageError(
      '--compat apr means --fit minmax and --kept f32; another fit or kept dtype cannot be had with it',
    )
  }
  return {
    select: await selectByPatterns(compat ? selectAsApr : selectByDefault, only, skip),
    fit: flags.fit ?? (compat ? 'minmax' : 'search'),
    kept: flags.kept ?? (compat ? 'f32' : 'auto'),
    mode,
    ...outputOptions(flags),
    strict: flags.strict ?? false,
    ...(flags.threads !== undefined && { threads: flags.threads }),
  }
}

/** Beside the input; safetensors, which do not hold Q4_K, become GGUF. */
function defaultOutput(file: string, to?: FormatName): string {
  const [, stem = file, ending] = /^(.+?)(\.apr|\.gguf|\.safetensors|[/\\]+)$/.exec(file) ?? []
  const isFolder = statSync(file, { throwIfNoEntry: false })?.isDirectory() ?? false
  const isGguf = to ? to === 'gguf' : isFolder || ending === '.gguf' || ending === '.safetensors'
  return `${stem}.q4k.${isGguf ? 'gguf' : 'apr'}`
}

function printReport(report: QuantizeReport): void {
  if (report.restartReason !== undefined) print(`started over: ${printable(report.restartReason)}`)
  if (report.resumedTensors > 0) print(`resumed: ${plural(report.resumedTensors, 'tensor')} of an earlier run`)
  const { inputBytes, outputBytes, ratio, seconds, peakMemoryBytes, mode } = report
  print(printable(report.output))
  print(`  ${bytes(inputBytes)} -> ${bytes(outputBytes)}, ${sizeChange(ratio)}`)
  for (const line of reasonLines(report.reasons)) print(`  ${line}`)
  print(
    `  ${seconds.toFixed(2)} s, ${bytes(inputBytes / seconds)}/s, peak memory ${bytes(peakMemoryBytes)} (mode ${mode})`,
  )
}

function printPlan(plan: Plan, output: string): void {
  const { inputBytes, outputBytes, ratio, freeBytes, peakMemoryBytes, mode } = plan
  print(`${printable(plan.input)} -> ${printable(output)}`)
  print(`  ${count(inputBytes)} bytes -> ${count(outputBytes)} bytes, ${sizeChange(ratio)}`)
  for (const line of reasonLines(plan.reasons)) print(`  ${line}`)
  for (const [title, dtypes] of Object.entries({ before: plan.inputDTypes, after: plan.outputDTypes })) {
    const census = Object.entries(dtypes).map(
      ([dtype, { tensors, bytes: size }]) => `${dtype} ${count(tensors)} (${bytes(size)})`,
    )
    print(`  ${title}: ${census.join(', ')}`)
  }
  const room =
    freeBytes === undefined ? '' : `; ${bytes(freeBytes)} free${freeBytes < outputBytes ? ': TOO LITTLE' : ''}`
  print(`  about ${bytes(peakMemoryBytes)} of memory (mode ${mode})${room}`)
  const rows = plan.decisions
    .slice(0, SHOWN_TENSORS)
    .map(({ name, dtype, outputDType, shape, inputBytes: before, outputBytes: after, reason }) => [
      printable(name, 80),
      `[${shape.join(', ')}]`,
      `${dtype} -> ${outputDType}`,
      count(before),
      count(after),
      REASONS[reason],
    ])
  print()
  for (const line of columns([['tensor', 'shape', 'dtype', 'bytes', 'bytes after', ''], ...rows], [3, 4])) print(line)
  const more = plan.decisions.length - rows.length
  if (more > 0) print(`... and ${plural(more, 'more tensor')}; --json lists all`)
}

function reasonLines(reasons: Partial<Record<Decision['reason'], number>>): string[] {
  return (Object.entries(REASONS) as [Decision['reason'], string][])
    .filter(([reason]) => reasons[reason] !== undefined)
    .map(([reason, text]) => `${plural(reasons[reason] ?? 0, 'tensor')} ${text}`)
}
