import { join } from 'node:path'
import { test } from 'tap'
import { killRun } from '../helpers/cluster-kills.js'
import { KIB_64, sha256, streamed, writeModel } from '../helpers/parts.js'
import { startRedis } from '../helpers/servers/redis.js'
import { notThere } from '../helpers/servers/server.js'

void test(
  'workers and Redis are killed, workers sleep: the right bytes, or nothing',
  { skip: notThere('redis-server') },
  async (t) => {
    const folder = t.testdir()
    const input = writeModel(folder, 3000)
    await streamed(input, join(folder, 'expected.apr'))
    const expected = sha256(join(folder, 'expected.apr'))
    const redis = await startRedis(t)
    for (const seed of [2, 3]) {
      await t.test(`run ${seed}`, async (t) => {
        const options = { blockBytes: KIB_64, unitBytes: 2 * KIB_64 }
        const { what, happened, seconds } = await killRun(t, { seed, input, options, expected, redis, slowMs: 500 })
        t.comment(`${what} after ${seconds.toFixed(1)} s: ${happened.join(', ')}`)
        t.ok(happened.length > 0)
      })
    }
  },
)
