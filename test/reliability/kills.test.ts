/** Processes that are killed, and what the next one makes of what they left. */
import { test } from 'tap'
import { KILL_CASES, killAtEveryCall } from '../long/kill-at-every-call.js'
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
