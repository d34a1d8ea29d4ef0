/** Section 2: the whole job on a real file, against threads and against the bound of the same job. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { interleave, summarize } from './lib/interleave.js'
import { writeModel } from './lib/model.js'
import { measureProcess } from './lib/process.js'
import { openAprConvert } from './peers/apr-convert.js'

const JOB = fileURLToPath(new URL('lib/job.js', import.meta.url))

/**
 * Runs one job in a process of its own.
 *
 * @param {string} input
 * @param {string} output
 * @param {object} options
 */
export async function runJob(input, output, options) {
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
  const first = await runJob(input, output, { fit: 'minmax' })

  const counts = [...new Set([1, 2, threads].filter((count) => count <= threads))]
  /** @type {Record<string, any[]>} */
  const reports = {}
  /** @type {Record<string, () => Promise<number>>} */
  const variants = {
    'read and write only': () =>
      keep('read and write only', () => runJob(input, output, { copyBytes: first.outputBytes })),
  }
  for (const fit of ['search', 'minmax']) {
    for (const count of counts) {
      const name = `${fit} ${count}`
      variants[name] = () => keep(name, () => runJob(input, output, { fit, threads: count }))
    }
  }
  const convert = await openAprConvert({ onUnavailable: note })
  if (convert) {
    variants['apr_convert'] = () =>
      keep('apr_convert', async () => {
        const figure = await convert.convert(input, output)
        return {
          seconds: figure.wallSeconds,
          peakResidentBytes: figure.peakResidentBytes,
          cpuSeconds: figure.cpuSeconds,
        }
      })
  }
  /** @param {string} name @param {() => Promise<any>} job */
  async function keep(name, job) {
    const report = await job()
    ;(reports[name] ??= []).push(report)
    return report.seconds
  }
  const timings = await interleave(variants, { rounds })
  const copyRate = weights / timings['read and write only'].median

  return {
    inputBytes: first.inputBytes,
    weights,
    peer: convert?.version,
    copyMegabytesPerSecond: first.inputBytes / timings['read and write only'].median / 1e6,
    figures: Object.entries(timings).map(([name, { median }]) => {
      const kernelRate = kernelRates[name]
      const bound = kernelRate === undefined ? undefined : Math.min(kernelRate, copyRate)
      const counted = reports[name].slice(1)
      const median_ = (/** @type {(report: any) => number} */ get) => summarize(counted.map(get)).median
      return {
        name,
        seconds: median,
        megabytesPerSecond: first.inputBytes / median / 1e6,
        weightsPerSecond: weights / median,
        bound,
        boundIs: bound === undefined ? undefined : bound === copyRate ? 'disk' : 'kernel',
        shareOfBound: bound === undefined ? undefined : weights / median / bound,
        peakResidentBytes: median_((report) => report.peakResidentBytes),
        cpuSeconds: median_((report) => report.cpuSeconds),
        delayP99Milliseconds: median_((report) => report.delayP99Milliseconds),
      }
    }),
  }
}
