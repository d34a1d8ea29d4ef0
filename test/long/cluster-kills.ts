/**
 * Runs in which three workers make a model while they, Redis and the object storage are killed and started again.
 * `npx tap test/long/cluster-kills.ts --timeout=3600 --test-arg=50 --test-arg=1`: how many, and the seed of the first. Those with
 * an even seed go to object storage, where that is there; `--test-arg=file` keeps all of them here.
 */
import { join } from 'node:path'
import { test } from 'tap'
import { killRun } from '../helpers/cluster-kills.js'
import { FOLDER, KIB_64, optionsOf, sha256, streamed, writeModel } from '../helpers/parts.js'
import { startRedis } from '../helpers/servers/redis.js'
import { startS3 } from '../helpers/servers/s3.js'
import { notThere } from '../helpers/servers/server.js'

const [runs = '50', first = '1', where = 'both'] = process.argv.slice(2)
const [RUNS, FIRST] = [Number(runs), Number(first)]

/** What object storage takes as a part, at the least: 5 MiB. */
const S3_BLOCK_BYTES = 80 * KIB_64

void test(`${RUNS} runs with kills`, { skip: notThere('redis-server'), timeout: RUNS * 150_000 }, async (t) => {
  const folder = t.testdir({ large: {} })
  const outcomes = { done: 0, failed: 0 }
  const small = writeModel(folder, 3000)
  const large = writeModel(join(folder, 'large'), 40_000)
  const redis = await startRedis(t)
  const s3 = where === 'file' || notThere('versitygw') ? undefined : await startS3(t)
  const expected = new Map<string, string>()
  for (const [name, input] of Object.entries({ 'small.apr': small, 'large.apr': large, 'folder.gguf': FOLDER })) {
    await streamed(input, join(folder, name))
    expected.set(input, sha256(join(folder, name)))
  }
  for (let seed = FIRST; seed < FIRST + RUNS; seed++) {
    const store = seed % 2 === 0 ? s3 : undefined
    const input = store ? large : seed % 4 === 1 ? small : FOLDER
    await t.test(`seed ${seed}${store ? ', to object storage' : ''}`, async (t) => {
      const sizes = { blockBytes: store ? S3_BLOCK_BYTES : KIB_64, unitBytes: store ? S3_BLOCK_BYTES : 2 * KIB_64 }
      const options = { ...sizes, ...optionsOf(input) }
      const run = { seed, input, options, expected: expected.get(input) ?? '', redis, s3: store }
      const { what, happened, seconds, error } = await killRun(t, run)
      outcomes[what]++
      t.pass(
        `${what} after ${seconds.toFixed(1)} s: ${happened.join(', ')} ${error instanceof Error ? error.message : ''}`,
      )
    })
  }
  t.comment(outcomes)
})
