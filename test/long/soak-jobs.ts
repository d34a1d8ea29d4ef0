/** Runs jobs over and over in one process, and tells what it holds before and after. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quantize } from 'apr-stream'
import { SAMPLE } from '../helpers/files.js'
import { holdings, largeModel, type Holdings } from '../helpers/faults.js'

export interface Held extends Holdings {
  /** Resident bytes after a collection of garbage. */
  readonly residentBytes: number
}

/** @param isLarge whether the model is large enough for worker threads */
export async function soak(
  folder: string,
  jobs: number,
  isLarge: boolean,
): Promise<{ before: Held; after: Held; peakThreads: number }> {
  const input = isLarge ? join(folder, 'large.apr') : SAMPLE
  if (isLarge) writeFileSync(input, largeModel(10_000_000, 'F16'))
  const output = join(folder, 'out.apr')
  let peakThreads = 0
  const job = async (n: number): Promise<void> => {
    const mode = n % 4 === 3 ? 'memory' : 'stream'
    const controller = new AbortController()
    const isAborted = n % 5 === 4
    await quantize(input, output, {
      mode,
      overwrite: true,
      fit: isLarge ? 'search' : 'minmax',
      threads: 2,
      signal: controller.signal,
      onProgress({ bytes, totalBytes }) {
        if (n % 10 === 0) peakThreads = Math.max(peakThreads, holdings().threads)
        if (isAborted && bytes > totalBytes / 2) controller.abort()
      },
    }).catch((error: unknown) => {
      if (!isAborted) throw error
    })
  }
  // The first jobs fill caches and start what stays for good: threads of the system's own, compiled code.
  const warm = Math.ceil(jobs / 5)
  for (let n = 0; n < warm; n++) await job(n)
  const before = await held()
  for (let n = 0; n < jobs; n++) await job(n)
  return { before, after: await held(), peakThreads }
}

async function held(): Promise<Held> {
  for (let i = 0; i < 5; i++) {
    await new Promise((done) => setTimeout(done, 20))
    ;(globalThis as { gc?: () => void }).gc?.()
  }
  return { ...holdings(), residentBytes: process.memoryUsage.rss() }
}
