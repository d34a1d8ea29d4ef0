/** Section 2: the whole job on a real file, against threads and against the bound of the same job. */
import { accessSync, closeSync, constants, fsyncSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { interleave, summarize } from './lib/interleave.js'
import { writeModel } from './lib/model.js'
import { measureProcess } from './lib/process.js'
import { openAprConvert } from './peers/apr-convert.js'

const JOB = fileURLToPath(new URL('lib/job.js', import.meta.url))
/** The bound: a job that reads the input and writes as many bytes as the output has. */
export const COPY = 'read and write only'
/** Linux: writing 3 here empties the page cache. Root only. */
const DROP_CACHES = '/proc/sys/vm/drop_caches'

/**
 * Runs one job in a process of its own. The output is a new file.
 *
 * @param {string} input
 * @param {string} output
 * @param {object} options
 */
export async function runJob(input, output, options) {
  rmSync(output, { force: true })
  const figure = await measureProcess(process.execPath, [JOB, input, output, JSON.stringify(options)])
  return { ...JSON.parse(figure.stdout), peakResidentBytes: figure.peakResidentBytes, cpuSeconds: figure.cpuSeconds }
}

/**
 * @param {{ rounds: number, threads: number, folder: string, bytes: number, kernelRates: Record<string, number>, note: (line: string) => void }} options
 *   `kernelRates` in weights a second, by `fit` and threads: `search 2`
 */
export async function benchWholeJob({ rounds, threads, folder, bytes, kernelRates, note }) {
  const input = join(folder, 'job.apr')
  const output = join(folder, 'job.q4k.apr')
  const { weights } = writeModel(input, { bytes, tensors: 64 })
  // Only what is on the disk can be dropped from the cache.
  const written = openSync(input, 'r')
  fsyncSync(written)
  closeSync(written)
  const { inputBytes, outputBytes } = await runJob(input, output, { fit: 'minmax' })

  const counts = [...new Set([1, 2, threads].filter((count) => count <= threads))]
  const jobs = new Map([
    [COPY, { copyBytes: outputBytes }],
    ...['search', 'minmax'].flatMap((fit) =>
      counts.map((count) => /** @type {const} */ ([`${fit} ${count}`, { fit, threads: count }])),
    ),
  ])
  const convert = await openAprConvert({ onUnavailable: note })
  /** @type {Record<string, any[]>} */
  const reports = {}
  /** @param {string} name @param {() => Promise<any>} job */
  const keep = (name, job) => async () => {
    const report = await job()
    ;(reports[name] ??= []).push(report)
    return report.seconds
  }

  const cached = Object.fromEntries(
    [...jobs].map(([name, job]) => [name, keep(name, () => runJob(input, output, job))]),
  )
  if (convert) {
    cached['apr_convert'] = keep('apr_convert', async () => {
      const { wallSeconds: seconds, peakResidentBytes, cpuSeconds } = await convert.convert(input, output)
      return { seconds, peakResidentBytes, cpuSeconds }
    })
  }
  const fromCache = await interleave(cached, { rounds })

  // A model that is larger than the memory is never in the cache.
  const cold = (/** @type {string} */ name) => `${name}, cold`
  const fromDisk = canDropCaches()
    ? await interleave(
        Object.fromEntries(
          [COPY, `search ${threads}`, `minmax ${threads}`].map((name) => [
            cold(name),
            keep(cold(name), () => {
              writeFileSync(DROP_CACHES, '3')
              return runJob(input, output, jobs.get(name) ?? {})
            }),
          ]),
        ),
        { rounds },
      )
    : undefined
  if (!fromDisk) note(`the jobs from disk are left out: ${DROP_CACHES} cannot be written`)

  /** @param {Record<string, import('./lib/interleave.js').Timing>} timings @param {string} copyName */
  const figures = (timings, copyName) =>
    Object.entries(timings).map(([name, { median }]) => {
      const copyRate = weights / timings[copyName].median
      const kernelRate = kernelRates[name.replace(/, cold$/, '')]
      const bound = kernelRate === undefined ? undefined : Math.min(kernelRate, copyRate)
      const counted = reports[name].slice(1)
      const median_ = (/** @type {(report: any) => number} */ get) => summarize(counted.map(get)).median
      return {
        name,
        seconds: median,
        megabytesPerSecond: inputBytes / median / 1e6,
        weightsPerSecond: weights / median,
        bound,
        boundIs: bound === undefined ? undefined : bound === copyRate ? 'disk' : 'kernel',
        shareOfBound: bound === undefined ? undefined : weights / median / bound,
        peakResidentBytes: median_((report) => report.peakResidentBytes),
        cpuSeconds: median_((report) => report.cpuSeconds),
        delayP99Milliseconds: median_((report) => report.delayP99Milliseconds),
      }
    })
  return {
    inputBytes,
    weights,
    peer: convert?.version,
    figures: [...figures(fromCache, COPY), ...(fromDisk ? figures(fromDisk, cold(COPY)) : [])],
  }
}

function canDropCaches() {
  try {
    accessSync(DROP_CACHES, constants.W_OK)
    return process.getuid?.() === 0
  } catch {
    return false
  }
}
