/** Models made by workers as users start them: the bytes are those of one process, on both databases. */
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { plan } from 'apr-stream/parts'
import { addFlow } from 'apr-stream/bullmq'
import { addFlowWith } from '../../dist/bullmq/flow.js'
import { SHORT_SETTINGS, startWorker } from '../helpers/cluster.js'
import { cli, result, start } from '../helpers/command.js'
import { filesIn } from '../helpers/files.js'
import { DATABASES } from '../helpers/flow-servers.js'
import { FOLDER, KIB_64, optionsOf, savePlan, sha256, streamed, writeModel } from '../helpers/parts.js'

for (const { database, skip, start: startDatabase } of DATABASES) {
  void test(`${database}: three workers of the command line make what one process makes`, { skip }, async (t) => {
    const url = await startDatabase(t)
    const flag = database === 'Redis' ? '--redis' : '--postgres'
    const folder = t.testdir({})
    const workers = [1, 2, 3].map(() => start(['worker', flag, url, '--threads', '1']))
    const ends = workers.map((worker) => result(worker))
    t.teardown(() => workers.forEach((worker) => worker.kill('SIGKILL')))
    for (const [name, input] of [
      ['out.apr', writeModel(folder, 2000)],
      ['out.gguf', FOLDER],
    ] as const) {
      await streamed(input, join(folder, `streamed-${name}`))
      const job = join(folder, `${name}.json`)
      const made = await savePlan(input, join(folder, name), job)
      const { code, stdout, stderr } = await cli(['queue', job, flag, url, '--wait', '--json'])
      t.equal(code, 0, stderr)
      t.match(JSON.parse(stdout), {
        ...{ schemaVersion: 1, id: made.id, added: 'added', parts: made.units.length },
        finished: { output: join(folder, name), bytes: made.totalBytes },
      })
      t.equal(sha256(join(folder, name)), sha256(join(folder, `streamed-${name}`)), name)
    }
    for (const worker of workers) worker.kill('SIGTERM')
    for (const { code, stdout, stderr } of await Promise.all(ends)) {
      t.equal(code, 0, stderr)
      t.match(stdout, /^ready$/m)
      t.match(stdout, /ending when the parts under way are done/)
    }
  })
}

void test(
  'an input that changed fails the flow, which says so; cancel leaves nothing',
  { skip: DATABASES[0].skip },
  async (t) => {
    const url = await DATABASES[0].start(t)
    const folder = t.testdir({})
    const input = writeModel(folder, 2000)
    const job = join(folder, 'job.json')
    await savePlan(input, join(folder, 'out.apr'), job)
    mkdirSync(join(folder, 'other'), { recursive: true })
    copyFileSync(writeModel(join(folder, 'other'), 2000, 2), input)
    const worker = await startWorker(t, url)
    const failed = await cli(['queue', job, '--redis', url, '--wait', '--json'])
    t.equal(failed.code, 1)
    t.match(JSON.parse(failed.stdout), { error: { code: 'APR_SOURCE_CHANGED' } })
    const cancelled = await cli(['queue', job, '--redis', url, '--cancel'])
    t.equal(cancelled.code, 0, cancelled.stderr)
    t.same(filesIn(folder).sort(), ['in.apr', 'job.json', 'other'])
    await worker.kill()
  },
)

void test('a killed part is started again within lock, look and 2 seconds', { skip: DATABASES[0].skip }, async (t) => {
  const url = await DATABASES[0].start(t)
  const folder = t.testdir({})
  const input = writeModel(folder, 2000)
  const made = await plan(input, join(folder, 'out.apr'), {
    blockBytes: KIB_64,
    unitBytes: 100 * KIB_64,
    ...optionsOf(input),
  })
  const first = await startWorker(t, url, 20_000)
  const flow = await addFlowWith({ abort: () => Promise.resolve(), settings: SHORT_SETTINGS }, made, url)
  t.teardown(() => flow.close())
  while (first.events.length === 0) await sleep(20)
  await sleep(1500)
  const second = await startWorker(t, url)
  await first.kill()
  const killed = performance.now()
  await flow.wait()
  const lost = first.events.find(({ type }) => type === 'begun') as { unit?: number } | undefined
  const begun = second.events.find((event) => event.type === 'begun' && event.unit === lost?.unit)
  const seconds = (Number(begun?.at) - killed) / 1000
  t.comment(`${seconds.toFixed(1)} s`)
  t.ok(seconds < (SHORT_SETTINGS.lockDuration + SHORT_SETTINGS.stalledInterval) / 1000 + 2, `${seconds} s`)
})

void test('where nobody answers that is said, without the password', async (t) => {
  const folder = t.testdir({})
  const job = join(folder, 'job.json')
  await savePlan(writeModel(folder), join(folder, 'out.apr'), job)
  const { code, stderr } = await cli(['queue', job, '--postgres', 'postgres://test:geheim@127.0.0.1:9/none'])
  t.equal(code, 1)
  t.match(stderr, /expected a queue to answer, found: .*ECONNREFUSED/)
  t.notMatch(stderr, 'geheim')
  for (const wrong of ['geheim', 'http://geheim', 'redis://']) {
    const refused = await cli(['queue', job, '--redis', wrong])
    t.equal(refused.code, 2)
    t.notMatch(refused.stderr, 'geheim')
    await t.rejects(addFlow(await plan(join(folder, 'in.apr'), join(folder, 'b.apr'), { overwrite: true }), wrong), {
      code: 'APR_BAD_OPTION',
      message: /^((?!geheim).)*$/,
    })
  }
})
