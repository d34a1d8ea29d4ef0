/** Section 3: time and memory as models grow, in bytes and in tensors. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { interleave, summarize } from './lib/interleave.js'
import { writeModel } from './lib/model.js'
import { runJob } from './whole-job.js'

const MEBIBYTE = 2 ** 20

/**
 * @param {{ rounds: number, folder: string, sizes: number[], singles: number[], counts: number[] }} options
 *   `sizes` and `singles` in bytes, of models of many tensors and of one; `counts` numbers of tensors of 16 x 16
 */
export async function benchGrowth({ rounds, folder, sizes, singles, counts }) {
  const bySize = await grow(
    sizes.map((bytes) => ({ label: `${bytes / MEBIBYTE} MiB`, bytes, tensors: Math.max(4, bytes / (16 * MEBIBYTE)) })),
    { rounds, folder },
  )
  const single = await grow(
    singles.map((bytes) => ({ label: `${bytes / MEBIBYTE} MiB in one tensor`, bytes, tensors: 1 })),
    { rounds: 1, folder },
  )
  const byCount = await grow(
    counts.map((tensors) => ({
      label: `${tensors} tensors of 16 x 16`,
      bytes: tensors * 512,
      tensors,
      rowElements: 16,
    })),
    { rounds, folder },
  )
  return { bySize, single, byCount }
}

/**
 * @param {Array<{ label: string, bytes: number, tensors: number, rowElements?: number }>} models
 * @param {{ rounds: number, folder: string }} options
 */
async function grow(models, { rounds, folder }) {
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
      models.map(({ label }, i) => [
        label,
        async () => {
          const report = await runJob(paths[i], output, { fit: 'minmax' })
          ;(reports[label] ??= []).push(report)
          return report.seconds
        },
      ]),
    ),
    { rounds },
  )
  for (const path of [...paths, output]) rmSync(path)
  return models.map(({ label, bytes, tensors }) => {
    const counted = reports[label].slice(1)
    return {
      label,
      bytes,
      tensors,
      seconds: timings[label].median,
      microsecondsPerTensor: (timings[label].median / tensors) * 1e6,
      peakResidentBytes: summarize(counted.map((report) => report.peakResidentBytes)).median,
      delayP99Milliseconds: summarize(counted.map((report) => report.delayP99Milliseconds)).median,
    }
  })
}
