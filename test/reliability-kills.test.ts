/** Processes that are killed, and what the next one makes of what they left. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { quantize } from 'apr-stream'
import { intercept, spawnJob } from './helpers/faults.js'
import { filesIn, SAMPLE } from './helpers/files.js'
import { KILL_CASES, killAtEveryCall } from './long/kill-at-every-call.js'
import { killAtRandom } from './long/kill-at-random.js'

const OPTIONS = { fit: 'minmax', mode: 'stream', recordBytes: 400_000 } as const

void test('a process killed at a random moment leaves the old file or the whole new one, and the next goes on', async (t) => {
  const { counts, problems } = await killAtRandom(t.testdir(), 12, 7)
  t.same(problems, [], JSON.stringify(counts))
})

for (const [i, options] of KILL_CASES.entries()) {
  void test(`killed at its calls to the file system, ${JSON.stringify(options)}: the next one succeeds`, async (t) => {
    const { kills, problems } = await killAtEveryCall(t.testdir(), options, 2 + i, 9)
    t.same(problems, [], `${kills} kills`)
  })
}

void test('a run that takes over what a killed one left fails cleanly, whichever call fails, and the next succeeds', async (t) => {
  const folder = join(t.testdir(), 'out')
  const output = join(folder, 'out.apr')
  mkdirSync(folder)
  await quantize(SAMPLE, output, OPTIONS)
  const expected = readFileSync(output)
  rmSync(output)
  await spawnJob(SAMPLE, output, OPTIONS, { killAt: 45 }).ended
  const left = filesIn(folder).map((name) => [name, readFileSync(join(folder, name))] as const)
  t.same(
    left.map(([name]) => name),
    ['out.apr.partial', 'out.apr.partial.journal'],
  )
  const problems: string[] = []
  let count = 0
  for (const resume of [false, true]) {
    for (let n = 0; ; n++) {
      rmSync(folder, { recursive: true })
      mkdirSync(folder)
      for (const [name, bytes] of left) writeFileSync(join(folder, name), bytes)
      let label: string | undefined
      await intercept(
        async (call, perform) => {
          if (call.number !== n) return await perform()
          label = call.label
          if (call.name === 'close') await perform()
          throw Object.assign(new Error('injected'), { code: 'EIO' })
        },
        () => quantize(SAMPLE, output, { ...OPTIONS, resume }).catch(() => undefined),
      )
      if (label === undefined) break
      count++
      try {
        await quantize(SAMPLE, output, { ...OPTIONS, resume, overwrite: true })
        if (!readFileSync(output).equals(expected)) problems.push(`call ${n}, ${label}: the next run wrote other bytes`)
      } catch (error) {
        problems.push(`call ${n}, ${label}: the next run failed: ${String(error)}`)
      }
      const names = filesIn(folder).join(', ')
      if (names !== 'out.apr') problems.push(`call ${n}, ${label}: the next run left ${names}`)
    }
  }
  t.same(problems, [], `${count} failures`)
})
