import { planConversion, type ConversionPlan, type ConvertReport } from '../jobs/conversion/conversion.js'
import { printable } from '../model/errors.js'
import { inFlags } from './flags.js'
import { keepHeapSmall } from './heap.js'
import { outputOptions, runJob, type OutputFlags } from './job-command.js'
import { SCHEMA_VERSION } from './json.js'
import { metadataLine } from './metadata-line.js'
import { bytes, columns, count, plural, print, printJson, sizeChange } from './output.js'

export interface ConvertFlags extends OutputFlags {
  output: string
  outtype: 'auto' | 'f32' | 'f16' | 'bf16'
}

const SHOWN_TENSORS = 20

export async function convertCommand(file: string, flags: ConvertFlags): Promise<void> {
  const { output, outtype } = flags
  const options = { ...outputOptions(flags), outtype }
  if (flags.plan) {
    keepHeapSmall()
    const plan = await planConversion(file, { ...options, output }).catch((error: unknown) => {
      throw inFlags(error, {})
    })
    if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, output, ...plan })
    else if (!flags.quiet) printPlan(plan, output)
    return
  }
  const { convert } = await import('../jobs/conversion/convert.js')
  await runJob(flags, async (job) => {
    const report = await convert(file, output, { ...options, ...job })
    return () => {
      if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, ...report })
      else if (!flags.quiet) printReport(report)
    }
  })
}

function printReport(report: ConvertReport): void {
  const { inputFormat, outputFormat, inputBytes, outputBytes, seconds, peakMemoryBytes, files, dropped } = report
  if (report.restartReason !== undefined) print(`started over: ${printable(report.restartReason)}`)
  if (report.resumedTensors > 0) print(`resumed: ${plural(report.resumedTensors, 'tensor')} of an earlier run`)
  print(printable(report.output))
  print(`  ${inputFormat} -> ${outputFormat}, ${plural(report.tensors, 'tensor')}, ${plural(files.length, 'file')}`)
  if (files.length > 1) for (const { name, bytes: size } of files) print(`    ${printable(name)}: ${bytes(size)}`)
  printDropped(dropped)
  print(`  ${bytes(inputBytes)} -> ${bytes(outputBytes)}, ${sizeChange(inputBytes / outputBytes)}`)
  print(`  ${seconds.toFixed(2)} s, ${bytes(inputBytes / seconds)}/s, peak memory ${bytes(peakMemoryBytes)}`)
}

function printPlan(plan: ConversionPlan, output: string): void {
  const { inputFormat, outputFormat, inputBytes, outputBytes, freeBytes, files, dropped, metadata, decisions } = plan
  print(`${printable(plan.input)} -> ${printable(output)}`)
  print(`  ${inputFormat} -> ${outputFormat}, ${plural(plan.tensors, 'tensor')}`)
  print(`  ${count(inputBytes)} bytes -> ${count(outputBytes)} bytes, ${sizeChange(inputBytes / outputBytes)}`)
  for (const { name, bytes: size } of files) print(`  file ${printable(name)}: ${count(size)} bytes`)
  if (freeBytes !== undefined) print(`  ${bytes(freeBytes)} free${freeBytes < outputBytes ? ': TOO LITTLE' : ''}`)
  printDropped(dropped)
  print()
  print('metadata:')
  for (const entry of metadata) print(`  ${metadataLine(entry)}`)
  print()
  const rows = decisions.slice(0, SHOWN_TENSORS).map(({ name, shape, dtype, bytes: size, sources }) => {
    const [from, ...more] = sources
    const before = sources.reduce((sum, source) => sum + source.bytes, 0)
    const others = more.length > 0 ? ` and ${more.length} more` : ''
    const source = from ? `${from.dtype} ${printable(from.name, 60)}${others}` : 'made'
    return [printable(name, 60), `[${shape.join(', ')}]`, dtype, count(before), count(size), source]
  })
  const head = ['tensor', 'shape', 'dtype', 'bytes before', 'bytes', 'from']
  for (const line of columns([head, ...rows], [3, 4])) print(line)
  const more = decisions.length - rows.length
  if (more > 0) print(`... and ${plural(more, 'more tensor')}; --json lists all`)
}

function printDropped(dropped: readonly string[]): void {
  if (dropped.length === 0) return
  const shown = dropped.slice(0, SHOWN_TENSORS).map((name) => printable(name, 80))
  print(
    `  dropped: ${shown.join(', ')}${dropped.length > shown.length ? ` and ${dropped.length - shown.length} more` : ''}`,
  )
}
