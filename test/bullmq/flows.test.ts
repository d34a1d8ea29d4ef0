/** What becomes of a flow, on both databases: parts that the test makes itself, on real servers. */
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { AprError } from 'apr-stream'
import { addFlowWith, type Flow } from '../../dist/bullmq/flow.js'
import { createWorkersWith, type Workers, type WorkersEvent, type WorkersOptions } from '../../dist/bullmq/workers.js'
import type { FlowProgress } from '../../dist/bullmq/progress.js'
import type { PartsPlan } from '../../dist/parts/blocks.js'
import { fakeParts, fakePlan, type FakeParts } from '../helpers/fake-parts.js'
import { DATABASES } from '../helpers/flow-servers.js'

for (const { database, skip, start } of DATABASES) {
  void test(database, { skip }, async (t) => {
    const url = await start(t)

    const addTo = async (t: Test, parts: FakeParts, plan: PartsPlan): Promise<Flow> => {
      const flow = await addFlowWith(parts, plan, url)
      t.teardown(() => flow.close())
      return flow
    }
    const workersOf = async (t: Test, parts: FakeParts, options: WorkersOptions = {}): Promise<Workers> => {
      const workers = await createWorkersWith(parts, url, options)
      t.teardown(() => workers.close())
      return workers
    }

    await t.test('every part runs once, and finish gets the receipts of all', async (t) => {
      const parts = fakeParts()
      const plan = fakePlan(20)
      const flow = await addTo(t, parts, plan)
      t.equal(flow.added, 'added')
      const waiting = await flow.progress()
      t.match(waiting, {
        state: 'waiting',
        parts: 20,
        partsDone: 0,
        bytes: 0,
        totalBytes: plan.totalBytes,
        running: [],
      })
      await workersOf(t, parts, { concurrency: 3 })
      t.match(await flow.wait(), { output: plan.output, bytes: plan.totalBytes, crc32: 7 })
      t.same(
        [...parts.begun].sort((a, b) => a - b),
        plan.units.map((_, unit) => unit),
      )
      t.same(parts.finished, [plan.units.map((_, unit) => ({ block: unit, crc32: unit + 1 }))])
      const done = await flow.progress()
      t.match(done, { state: 'done', partsDone: 20, bytes: plan.totalBytes, failing: [], result: { crc32: 7 } })
    })

    await t.test('a flow that is added twice runs once, also when it is done', async (t) => {
      const parts = fakeParts()
      const plan = fakePlan(5)
      const flows = await Promise.all([addTo(t, parts, plan), addTo(t, parts, plan)])
      await workersOf(t, parts)
      await Promise.all(flows.map((flow) => flow.wait()))
      const again = await addTo(t, parts, plan)
      t.equal(again.added, 'there')
      await again.wait()
      t.equal(parts.begun.length, 5)
      t.equal(parts.finished.length, 1)
    })

    await t.test('an error about the data fails the flow once, at its first try, and says why', async (t) => {
      const parts = fakeParts({
        part: async (unit) => {
          await sleep(50)
          if (unit === 2) throw new AprError('APR_BAD_VALUE', 'expected a number, found NaN', { tensor: 'a.weight' })
        },
      })
      const events: WorkersEvent[] = []
      const flow = await addTo(t, parts, fakePlan(200))
      await workersOf(t, parts, { onEvent: (event) => events.push(event) })
      const error = await flow.wait().then(
        () => t.fail('it was done'),
        (error: unknown) => error as AprError,
      )
      t.match(error, { code: 'APR_BAD_VALUE', message: /part 2 failed: expected a number, found NaN .*a\.weight/ })
      t.equal(parts.begun.filter((unit) => unit === 2).length, 1)
      t.equal(parts.finished.length, 0)
      const failed = events.filter(({ type }) => type === 'failed')
      t.match(failed, [{ unit: 2, isTriedAgain: false, reason: /^APR_BAD_VALUE: / }])
      t.equal(failed.length, 1)
      await sleep(500)
      t.ok(parts.begun.length < 20, `${parts.begun.length} of 200 parts were begun`)
      t.match(await flow.progress(), { state: 'failed', failure: { unit: 2, code: 'APR_BAD_VALUE' }, running: [] })
      t.same(parts.aborted, [], 'what the others have made is kept')
    })

    await t.test(
      'a flow that has failed goes on when it is added again: parts that are done are not run again',
      async (t) => {
        let isBad = true
        const parts = fakeParts({
          part: async (unit) => {
            await sleep(10)
            if (unit === 5 && isBad) throw new AprError('APR_BAD_VALUE', 'bad')
          },
        })
        const plan = fakePlan(10)
        const flow = await addTo(t, parts, plan)
        await workersOf(t, parts)
        await t.rejects(flow.wait(), { code: 'APR_BAD_VALUE' })
        isBad = false
        const again = await addTo(t, parts, plan)
        t.equal(again.added, 'again')
        await again.wait()
        t.equal(parts.begun.filter((unit) => unit === 0).length, 1)
        t.equal(parts.begun.length, 11)
        t.same(
          parts.finished,
          [plan.units.map((_, unit) => ({ block: unit, crc32: unit + 1 }))],
          'finish gets the receipts of both runs',
        )
      },
    )

    await t.test('where finish refuses the parts, all of them run again when the flow is added again', async (t) => {
      let isBad = true
      const parts = fakeParts({
        finish: () => (isBad ? Promise.reject(new AprError('APR_PARTS_MISSING', 'gone')) : Promise.resolve()),
      })
      const plan = fakePlan(3)
      const flow = await addTo(t, parts, plan)
      await workersOf(t, parts)
      await t.rejects(flow.wait(), { code: 'APR_PARTS_MISSING', message: /its end failed: gone/ })
      t.equal(parts.finished.length, 1, 'and is not tried again')
      isBad = false
      await (await addTo(t, parts, plan)).wait()
      t.equal(parts.begun.length, 6)
    })

    await t.test('other errors are tried five times; meanwhile the part is failing, not failed', async (t) => {
      let tries = 0
      const parts = fakeParts({
        part: async (unit) => {
          await sleep(1)
          if (unit === 1) throw Object.assign(new Error(`try ${++tries}`), { code: 'EIO' })
        },
      })
      const seen: FlowProgress[] = []
      const flow = await addFlowWith({ ...parts, settings: { ...parts.settings, backoff: 200 } }, fakePlan(3), url)
      t.teardown(() => flow.close())
      await workersOf(t, parts)
      await t.rejects(flow.wait({ onProgress: (progress) => seen.push(progress) }), {
        code: 'APR_QUEUE',
        message: /part 1 failed: try 5$/,
      })
      t.equal(tries, 5)
      const failing = seen.flatMap((progress) => progress.failing)
      t.ok(failing.length > 0)
      t.match(failing[0], { unit: 1, maxAttempts: 5, reason: /^EIO: try \d$/ })
    })

    await t.test('cancel ends parts that run, removes what they have left, and forgets the flow', async (t) => {
      let ended = 0
      const parts = fakeParts({
        part: async (_unit, { signal }) => {
          await sleep(60_000, undefined, { signal }).finally(() => ended++)
        },
      })
      const plan = fakePlan(50)
      const flow = await addTo(t, parts, plan)
      await workersOf(t, parts, { concurrency: 2 })
      while (parts.begun.length < 2) await sleep(10)
      await flow.cancel()
      t.equal(ended, 2)
      t.same(parts.aborted, [plan.id])
      t.equal(parts.begun.length, 2)
      t.equal(parts.finished.length, 0)
      await t.rejects(flow.progress(), { code: 'APR_QUEUE', message: /was cancelled/ })
      const again = await addTo(t, parts, plan)
      t.equal(again.added, 'added')
      await again.cancel()
    })

    await t.test('cancel of a flow that is done leaves the output', async (t) => {
      const parts = fakeParts()
      const flow = await addTo(t, parts, fakePlan(2))
      await workersOf(t, parts)
      await flow.wait()
      await flow.cancel()
      t.same(parts.aborted, [])
    })

    await t.test('workers that close let their parts end, or give them back at once', async (t) => {
      let isSlow = false
      const parts = fakeParts({
        part: (_unit, { signal }) => sleep(isSlow ? 60_000 : 300, undefined, { signal }),
      })
      const flow = await addTo(t, parts, fakePlan(3))
      const first = await createWorkersWith(parts, url)
      while (parts.begun.length < 1) await sleep(10)
      await first.close()
      t.match(await flow.progress(), { partsDone: 1, running: [] })

      isSlow = true
      const second = await createWorkersWith(parts, url)
      while (parts.begun.length < 2) await sleep(10)
      await second.close({ now: true })
      t.match(await flow.progress(), { partsDone: 1, running: [], failing: [] })
      isSlow = false
      await workersOf(t, parts)
      await flow.wait()
      t.equal(parts.begun.length, 4)
    })

    await t.test('progress counts what parts under way have made', async (t) => {
      const parts = fakeParts({
        part: async (unit, { onProgress }) => {
          if (unit === 0) return
          onProgress({ bytes: 1000 })
          await sleep(1200)
          onProgress({ bytes: 30_000 })
          await sleep(1000)
        },
      })
      const plan = fakePlan(2)
      const flow = await addTo(t, parts, plan)
      await workersOf(t, parts)
      const seen: FlowProgress[] = []
      await flow.wait({ onProgress: (progress) => seen.push(progress) })
      const running = seen.find(({ running }) => running.some(({ bytes }) => bytes === 30_000))
      t.match(running, { state: 'running', partsDone: 1, bytes: plan.blockBytes + 30_000 })
      t.match(running?.running, [{ unit: 1, worker: /:\d+$/, totalBytes: plan.blockBytes }])
      t.ok(Number(running?.bytesPerSecond) > 15_000 && Number(running?.bytesPerSecond) < 30_000)
      t.ok(Number(running?.secondsLeft) > 0)
    })
  })
}
