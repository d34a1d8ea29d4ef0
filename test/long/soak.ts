/**
 * Many jobs in one process. `npx tap test/long/soak.ts --timeout=3600 --node-arg=--expose-gc --test-arg=1000
 * --test-arg=100`: how many jobs on a small model, and how many on one that takes worker threads. Every fifth is
 * aborted, every fourth in mode memory.
 */
import { test } from 'tap'
import { soak } from './soak-jobs.js'

const [small = 1000, large = 100] = process.argv.slice(2).map(Number)

for (const [jobs, isLarge] of [
  [small, false],
  [large, true],
] as const) {
  void test(`${jobs} jobs ${isLarge ? 'with' : 'without'} worker threads`, async (t) => {
    const { before, after, peakThreads } = await soak(t.testdir(), jobs, isLarge)
    t.comment(JSON.stringify({ before, after, peakThreads }))
    t.equal(after.descriptors, before.descriptors, `${after.descriptors} descriptors`)
    t.ok(after.threads <= before.threads, `${before.threads} threads before, ${after.threads} after`)
    const grown = after.residentBytes - before.residentBytes
    t.ok(grown < 32 * 1024 * 1024, `${before.residentBytes} bytes before, ${grown} more after`)
  })
}
