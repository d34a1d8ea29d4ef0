import { compare, type Comparison } from '../jobs/compare/compare.js'
import { printable } from '../model/errors.js'
import type { GroupFigures, TensorFigures, UnmatchedTensor } from '../quality/report-data.js'
import { runJob } from './job-command.js'
import { SCHEMA_VERSION } from './json.js'
import { bytes, columns, count, plural, print, printJson, wrongUsage } from './output.js'
import { selectByPatterns } from '../jobs/select-by-patterns.js'

export interface CompareFlags {
  imatrix?: string
  maxError?: number
  only?: string[]
  skip?: string[]
  report?: string
  config?: string
  threads?: number
  force?: boolean
  json?: boolean
  quiet?: boolean
}

const PATTERN_FLAGS = { only: '--only', skip: '--skip' }

/** Tensors that are listed, with the lowest SNR, and names of others at the most. */
const WORST_TENSORS = 10
const MAX_LISTED = 20

export async function compareCommand(a: string, b: string, flags: CompareFlags): Promise<void> {
  const { imatrix, maxError, only, skip, report, config, threads, force, json, quiet } = flags
  const select = await selectByPatterns(() => true, only, skip, PATTERN_FLAGS).catch(wrongUsage)
  await runJob({ ...flags }, async (job) => {
    const options = { imatrix, maxError, select, report, config, threads, overwrite: force ?? false, ...job }
    const result = await compare(a, b, options)
    return () => {
      if (json) printJson({ ...result, schemaVersion: SCHEMA_VERSION })
      else if (!quiet) printComparison(result)
      if (!result.ok) process.exitCode = 1
      if (!result.ok && !json) printBeyond(result, maxError ?? 0)
    }
  })
}

function printComparison(result: Comparison): void {
  const { a, b, total, kinds, onlyInA, onlyInB, importance } = result
  for (const { name, format, bitsPerWeight, bytes: size } of [a, b]) {
    print(`${printable(name)}: ${format}, ${bytes(size)}, ${bitsPerWeight.toFixed(2)} bits a weight`)
  }
  if (importance !== undefined) print(`weighted by ${printable(importance)}`)
  print()
  const isWeighted = importance !== undefined
  const weightedTitle = isWeighted ? ['weighted'] : []
  const cells = (figures: GroupFigures | TensorFigures): string[] => [
    percent(figures.relativeError),
    ...(isWeighted ? [percent(figures.weightedError)] : []),
    decibels(figures),
  ]
  const head = ['kind', 'tensors', 'bytes', 'error', ...weightedTitle, 'SNR']
  const groups = [...kinds.map((kind) => ({ title: printable(kind.tensorKind), ...kind })), { title: 'all', ...total }]
  const rows = groups.map((group) => [group.title, count(group.tensors), bytes(group.bytesB), ...cells(group)])
  for (const line of columns([head, ...rows], [1, 2, 3, 4, 5])) print(line)
  const worst = worstOf(result.tensors)
  if (worst.length > 0) {
    print()
    const worstHead = ['lowest SNR', 'dtypes', 'error', ...weightedTitle, 'SNR']
    const lines = worst.map((tensor) => [
      printable(tensor.name),
      tensor.dtypeA === tensor.dtypeB ? tensor.dtypeA : `${tensor.dtypeA} to ${tensor.dtypeB}`,
      ...cells(tensor),
    ])
    for (const line of columns([worstHead, ...lines], [2, 3, 4])) print(line)
  }
  printNotFinite(result.tensors)
  printUnmatched(printable(a.name), onlyInA)
  printUnmatched(printable(b.name), onlyInB)
}

function worstOf(tensors: readonly TensorFigures[]): TensorFigures[] {
  const snrOf = ({ e2, snr }: TensorFigures): number => (e2 === 0 ? Infinity : (snr ?? -Infinity))
  const wrong = tensors.filter((tensor) => snrOf(tensor) < Infinity)
  return wrong.sort((one, other) => snrOf(one) - snrOf(other)).slice(0, WORST_TENSORS)
}

function percent(error: number | null | undefined): string {
  if (error === undefined) return ''
  if (error === null) return 'all'
  return error === 0 ? '0' : `${(error * 100).toPrecision(3)} %`
}

function decibels({ e2, snr }: { readonly e2: number; readonly snr: number | null }): string {
  return e2 === 0 ? 'same' : snr === null ? '' : `${snr.toFixed(1)} dB`
}

function printNotFinite(tensors: readonly TensorFigures[]): void {
  for (const { name, notFinite } of tensors) {
    if (!notFinite) continue
    const { inA, inB, element, w, v } = notFinite
    const found = `${count(inA)} values of the first and ${count(inB)} of the second are NaN or infinite`
    print(`${printable(name)}: ${found}, the first pair is ${w} and ${v} at element ${count(element)}; left out`)
  }
}

function printUnmatched(model: string, tensors: readonly UnmatchedTensor[]): void {
  if (tensors.length === 0) return
  print()
  print(`${plural(tensors.length, 'tensor')} of ${model} not compared:`)
  for (const { name, dtype, shape, reason } of tensors.slice(0, MAX_LISTED)) {
    const why = { missing: 'not in the other', shape: 'another shape there', dtype: 'a dtype that is not read' }[reason]
    print(`  ${printable(name)} ${dtype} [${shape.join(', ')}]: ${why}`)
  }
  if (tensors.length > MAX_LISTED) print(`  and ${count(tensors.length - MAX_LISTED)} more`)
}

function printBeyond({ beyond, tensors }: Comparison, maxError: number): void {
  const errors = new Map(tensors.map(({ name, relativeError }) => [name, relativeError]))
  const lines = beyond.map((name) => `  ${printable(name)} ${percent(errors.get(name))}`.trimEnd())
  process.stderr.write(`beyond ${percent(maxError)}: ${plural(beyond.length, 'tensor')}\n${lines.join('\n')}\n`)
}
