/** Processes that are killed, and what the next one makes of what they left. */
import { test } from 'tap'
import { KILL_CASES, killAtEveryCall, killSeveralAtEveryCall, SEVERAL } from '../long/kill-at-every-call.js'
import { killAtRandom } from '../long/kill-at-random.js'

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

for (const [i, [what, files]] of Object.entries(SEVERAL).entries()) {
  void test(`killed at its calls to the file system, ${what}: never a mixture, and the next one succeeds`, async (t) => {
    for (const [j, options] of [KILL_CASES[0], KILL_CASES[3]].entries()) {
      const { kills, problems } = await killSeveralAtEveryCall(t.testdir(), files, options, 3 + i + j, 29)
      t.same(problems, [], `${kills} kills, ${JSON.stringify(options)}`)
      t.ok(kills > 3)
    }
  })
}
