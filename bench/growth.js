/** Section 3: time and memory as models grow, in bytes and in tensors. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { interleave, summarize } from './lib/interleave.js'
import { writeModel } from './lib/model.js'
import { COPY, runJob } from './whole-job.js'

const MEBIBYTE = 2 ** 20
/** 144 bytes for 256 weights of 2 bytes each. */
const Q4K_OF_F16 = 144 / 512

/**
 * @param {{ rounds: number, folder: string, sizes: Record<string, number[]>, singles: number[], counts: number[] }} options
 *   `sizes` by fit, or COPY, and `singles` in bytes, of models of many tensors and of one; `counts` numbers of tensors of 16 x 16
 */
export async function benchGrowth({ rounds, folder, sizes, singles, counts }) {
  /** @type {any[]} */
  const bySize = []
  for (const fit of Object.keys(sizes)) bySize.push(...(await growBySize(fit, sizes[fit], { rounds, folder })))
  const single = await measure(
    singles.map((bytes) => ({
      label: `minmax, ${bytes / MEBIBYTE} MiB in one tensor`,
      fit: 'minmax',
      bytes,
      tensors: 1,
    })),
    { rounds: 1, folder },
  )
  const byCount = await measure(
    counts.map((tensors) => ({
      label: `minmax, ${tensors} tensors of 16 x 16`,
      fit: 'minmax',
      bytes: tensors * 512,
      tensors,
      rowElements: 16,
    })),
    { rounds, folder },
  )
  return { bySize, single, byCount }
}

/**
 * Each size in turn with the next: both files fit in the page cache together, and a slow minute falls on both.
 *
 * @param {string} fit
 * @param {number[]} sizes ascending
 * @param {{ rounds: number, folder: string }} options
 */
async function growBySize(fit, sizes, options) {
  const models = sizes.map((bytes) => ({
    label: `${fit}, ${bytes / MEBIBYTE} MiB`,
    fit,
    bytes,
    tensors: Math.max(4, bytes / (16 * MEBIBYTE)),
  }))
  /** @type {any[]} */
  const figures = []
  for (let i = 1; i < models.length; i++) {
    const [smaller, larger] = await measure([models[i - 1], models[i]], options)
    if (i === 1) figures.push(smaller)
    figures.push({ ...larger, timesSmaller: larger.seconds / smaller.seconds })
  }
  return figures
}

/**
 * @param {Array<{ label: string, fit: string, bytes: number, tensors: number, rowElements?: number }>} models
 * @param {{ rounds: number, folder: string }} options
 */
async function measure(models, { rounds, folder }) {
  const output = join(folder, 'growth.q4k.apr')
  const paths = models.map((model, i) => {
    const path = join(folder, `growth-${i}.apr`)
    writeModel(path, model)
    return path
  })
  /** @type {Record<string, any[]>} */
  const reports = {}
  const timings = await interleave(
    Object.fromEntries(
      models.map(({ label, fit, bytes }, i) => [
        label,
        async () => {
          const report = await runJob(paths[i], output, fit === COPY ? { copyBytes: bytes * Q4K_OF_F16 } : { fit })
          ;(reports[label] ??= []).push(report)
          return report.seconds
        },
      ]),
    ),
    { rounds },
  )
  for (const path of [...paths, output]) rmSync(path, { force: true })
  return models.map(({ label, fit, bytes, tensors }) => {
    const counted = reports[label].slice(1)
    return {
      label,
      fit,
      bytes,
      tensors,
      seconds: timings[label].median,
      microsecondsPerTensor: (timings[label].median / tensors) * 1e6,
      peakResidentBytes: summarize(counted.map((report) => report.peakResidentBytes)).median,
      delayP99Milliseconds: summarize(counted.map((report) => report.delayP99Milliseconds)).median,
    }
  })
}
