/**
 * `npm run bench [-- --quick] [-- --rounds N]`: all sections in one run, as a table, as JSON, and as charts that
 * docs/performance.md shows.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { barChart, lineChart } from './lib/chart.js'
import { benchBlockTypes, blockTypeTable } from './block-types.js'
import { benchGrowth } from './growth.js'
import { benchHandOver } from './hand-over.js'
import { benchKernels, FROM_F16 } from './kernel.js'
import { benchWholeJob, COPY } from './whole-job.js'

const GIBIBYTE = 2 ** 30
const inBytes = (/** @type {number} */ gibibytes) => gibibytes * GIBIBYTE

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    folder: { type: 'string', default: tmpdir() },
  },
})
const rounds = Number(flags.rounds)
const threads = availableParallelism()
const folder = mkdtempSync(join(flags.folder, 'apr-stream-bench-'))
const note = (/** @type {string} */ line) => console.log(`note: ${line}`)

try {
  const kernels = await benchKernels({ rounds: rounds + 2, threads, note })
  printKernels(kernels)
  const blockTypes = await benchBlockTypes({ rounds: rounds + 2, note })
  console.log('\nBlock types, one thread: a fit alone, and from F32 in memory and back to it')
  const [head, ...rows] = blockTypeTable(blockTypes)
  table(head, rows)
  const kernelRates = Object.fromEntries(
    kernels.figures
      .filter(({ who }) => who === FROM_F16)
      .flatMap(({ fit, threads: used, weightsPerSecond }) => [[`${fit} ${used}`, weightsPerSecond]]),
  )
  const whole = await benchWholeJob({
    rounds,
    threads,
    folder,
    bytes: inBytes(flags.quick ? 1 / 4 : 2),
    kernelRates,
    note,
  })
  printWhole(whole)
  const handOver = await benchHandOver({ rounds })
  printHandOver(handOver)
  const growth = await benchGrowth({
    rounds: Math.min(rounds, 3),
    folder,
    sizes: {
      minmax: (flags.quick ? [1 / 16, 1 / 8, 1 / 4] : [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]).map(inBytes),
      [COPY]: (flags.quick ? [] : [1, 2, 4, 8]).map(inBytes),
      search: (flags.quick ? [1 / 16, 1 / 8] : [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2]).map(inBytes),
    },
    singles: [inBytes(flags.quick ? 1 / 4 : 2)],
    counts: flags.quick ? [10, 1_000, 10_000] : [10, 1_000, 10_000, 50_000],
  })
  printGrowth(growth)
  save({ machine: machine(), kernels, blockTypes, whole, handOver, growth })
} finally {
  rmSync(folder, { recursive: true })
}

function machine() {
  return {
    processor: cpus()[0]?.model,
    cores: threads,
    memoryBytes: totalmem(),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
  }
}

/** @param {Awaited<ReturnType<typeof benchKernels>>} kernels */
function printKernels({ figures, ratios }) {
  console.log('\n1. Kernels')
  table(
    ['', 'M weights/s', 'slowest', 'fastest'],
    figures.map(({ name, weightsPerSecond, slowest, fastest }) => [
      name,
      ...[weightsPerSecond, slowest, fastest].map(mega),
    ]),
  )
  table(
    ['ratio', ''],
    Object.entries(ratios).map(([name, ratio]) => [name, ratio === undefined ? 'no peer' : `${ratio.toFixed(2)} x`]),
  )
}

/** @param {Awaited<ReturnType<typeof benchWholeJob>>} whole */
function printWhole({ figures, inputBytes }) {
  console.log(`\n2. The whole job, ${(inputBytes / 1e9).toFixed(2)} GB of F16, each run a process of its own`)
  table(
    ['', 's', 'MB/s', 'M weights/s', 'of bound', 'bound is', 'peak MB', 'CPU s', 'delay p99 ms'],
    figures.map((figure) => [
      figure.name,
      figure.seconds.toFixed(2),
      figure.megabytesPerSecond.toFixed(0),
      mega(figure.weightsPerSecond),
      figure.shareOfBound === undefined ? '' : `${(figure.shareOfBound * 100).toFixed(0)} %`,
      figure.boundIs ?? '',
      mega(figure.peakResidentBytes),
      figure.cpuSeconds.toFixed(2),
      figure.delayP99Milliseconds?.toFixed(1) ?? '',
    ]),
  )
}

/** @param {Awaited<ReturnType<typeof benchHandOver>>} figures */
function printHandOver(figures) {
  console.log('\nA record of 2 MiB to a thread and back')
  table(
    ['', 'us'],
    figures.map(({ name, microseconds }) => [name, microseconds.toFixed(0)]),
  )
}

/** @param {Awaited<ReturnType<typeof benchGrowth>>} growth */
function printGrowth({ bySize, single, byCount }) {
  console.log('\n3. Growth')
  table(
    ['', 's', 'x half the size', 'us a tensor', 'peak MB', 'delay p99 ms'],
    [...bySize, ...single, ...byCount].map((figure) => [
      figure.label,
      figure.seconds.toFixed(2),
      figure.timesSmaller?.toFixed(2) ?? '',
      figure.microsecondsPerTensor.toFixed(0),
      mega(figure.peakResidentBytes),
      figure.delayP99Milliseconds.toFixed(1),
    ]),
  )
}

/** @param {{ machine: object, kernels: any, whole: any, growth: any }} results */
function save(results) {
  const at = (/** @type {string} */ name) => new URL(name, import.meta.url)
  writeFileSync(at('results.json'), `${JSON.stringify(results, null, 2)}\n`)
  writeFileSync(
    at('../docs/performance-kernels.svg'),
    barChart({
      title: 'Q4_K, fit search',
      unit: 'M weights/s',
      rows: results.kernels.figures
        .filter((/** @type {any} */ { fit, who }) => fit === 'search' && who !== FROM_F16)
        .map((/** @type {any} */ { name, weightsPerSecond, who }) => ({
          label: name.replace('search, ', ''),
          value: weightsPerSecond / 1e6,
          emphasis: who === 'apr-stream',
        })),
    }),
  )
  writeFileSync(
    at('../docs/performance-memory.svg'),
    lineChart({
      title: 'Peak memory of a job, by size of the model',
      unit: 'MB',
      xUnit: 'GiB',
      series: ['search', 'minmax'].map((name) => ({
        name,
        points: results.growth.bySize
          .filter((/** @type {any} */ { fit }) => fit === name)
          .map((/** @type {any} */ { bytes, peakResidentBytes }) => [bytes / GIBIBYTE, peakResidentBytes / 1e6]),
      })),
    }),
  )
  console.log('\nwritten: bench/results.json, docs/performance-kernels.svg, docs/performance-memory.svg')
}

/** @param {number} value */
function mega(value) {
  return (value / 1e6).toFixed(value < 1e7 ? 1 : 0)
}

/** @param {string[]} head @param {string[][]} rows */
function table(head, rows) {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i].length)))
  for (const row of [head, ...rows]) {
    console.log(
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join('  ')
        .trimEnd(),
    )
  }
}
