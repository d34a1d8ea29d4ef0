/**
 * Kills many processes. `npx tap test/long/kills.ts --timeout=3600 --test-arg=200 --test-arg=1`: how many, and the seed
 * of their moments. Then one process for every call to the file system that a job makes.
 */
import { test } from 'tap'
import { KILL_CASES, killAtEveryCall, killSeveralAtEveryCall, SEVERAL } from './kill-at-every-call.js'
import { killAtRandom } from './kill-at-random.js'

const [count = 200, seed = 1] = process.argv.slice(2).map(Number)

void test(`${count} processes, killed at random moments`, async (t) => {
  let done = 0
  let run = seed
  while (done < count) {
    const { counts, problems } = await killAtRandom(t.testdir(), count - done, run++)
    t.same(problems, [], JSON.stringify(counts))
    done += counts.kills
  }
  t.ok(done >= count, `${done} kills`)
})

for (const options of KILL_CASES) {
  void test(`killed at every call to the file system, ${JSON.stringify(options)}`, async (t) => {
    const { kills, problems } = await killAtEveryCall(t.testdir(), options)
    t.same(problems, [], `${kills} kills`)
  })
}

for (const [what, files] of Object.entries(SEVERAL)) {
  for (const options of KILL_CASES) {
    void test(`killed at every call to the file system, ${what}, ${JSON.stringify(options)}`, async (t) => {
      const { kills, problems } = await killSeveralAtEveryCall(t.testdir(), files, options)
      t.same(problems, [], `${kills} kills`)
    })
  }
}
