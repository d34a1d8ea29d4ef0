/** The page of flows, looked at in a real browser while parts are made. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { AprError } from 'apr-stream'
import { startFlowPage } from 'apr-stream/bullmq'
import { addFlowWith } from '../../dist/bullmq/flow.js'
import { createWorkersWith } from '../../dist/bullmq/workers.js'
import { noChromium, openPage, startChromium } from '../helpers/chromium.js'
import { fakeParts, fakePlan } from '../helpers/fake-parts.js'
import { startRedis } from '../helpers/servers/redis.js'
import { notThere } from '../helpers/servers/server.js'

const HOSTILE = '</script><img src=x onerror=alert(1)>'

void test(
  'the page shows flows as they are, on wide and narrow screens',
  { skip: notThere('redis-server') || noChromium },
  async (t) => {
    const redis = await startRedis(t)
    const parts = fakeParts({
      part: async (unit, { onProgress }) => {
        for (let step = 1; step <= 4; step++) {
          await sleep(400)
          onProgress({ bytes: step * 16_000 })
        }
        if (unit === 3) throw new Error('the disk went away')
      },
    })
    const bad = fakeParts({
      part: () =>
        Promise.reject(new AprError('APR_BAD_VALUE', 'expected finite numbers, found NaN', { tensor: 'blk.0.ffn' })),
    })
    const page = await startFlowPage(redis.url, { port: 0 })
    t.teardown(() => page.close())
    const failing = await addFlowWith(bad, fakePlan(4, { output: `/models/${HOSTILE}.gguf` }), redis.url)
    const first = await createWorkersWith(bad, redis.url)
    await failing.wait().catch(() => undefined)
    await first.close()
    await failing.close()
    const settings = { ...parts.settings, lockDuration: 10_000, backoff: 3000 }
    const plan = fakePlan(12, {
      output: '/shared/models/Qwen3-235B-A22B.Q4_K_M.gguf',
      input: 'hf://Qwen/Qwen3-235B-A22B',
    })
    const flow = await addFlowWith({ ...parts, settings }, plan, redis.url)
    t.teardown(() => flow.close())
    const workers = await createWorkersWith({ ...parts, settings }, redis.url, { concurrency: 3 })
    t.teardown(() => workers.close({ now: true }))

    const browser = await startChromium(t)
    const wide = await openPage(browser, page.url)
    const narrow = await openPage(browser, page.url, { width: 400, height: 800, scheme: 'dark', scale: 2 })
    for (const { page: tab } of [wide, narrow]) {
      await tab.bringToFront()
      await tab.waitForFunction(
        `[...document.querySelectorAll('article')].some((card) => /parts done[1-9]/.test(card.textContent) && /try \\d of 5: the disk/.test(card.textContent))`,
        { timeout: 20_000 },
      )
    }
    const text = (await wide.page.evaluate('document.body.innerText')) as string
    t.match(text, /Qwen3-235B-A22B\.Q4_K_M\.gguf/)
    t.match(text, /\d+ of 12/)
    t.match(text, /kB\/s/)
    t.match(text, /time left\n\d+ s/i)
    t.match(text, /part 0: APR_BAD_VALUE: expected finite numbers, found NaN/)
    t.ok(text.includes(HOSTILE), 'names are text')
    t.match(text, /\b1 worker\b/)
    const width = await narrow.page.evaluate('document.documentElement.scrollWidth')
    t.equal(width, 400, 'nothing stands out of a narrow screen')

    const folder = process.env['PAGE_PICTURES'] ?? t.testdir({})
    for (const [name, { page: tab }] of Object.entries({ 'flows-1280': wide, 'flows-400-dark': narrow })) {
      const path = join(folder, `${name}.png`)
      await tab.screenshot({ path: path })
      t.ok(statSync(path).size > 5000, name)
    }
    for (const { said, requests } of [wide, narrow]) {
      t.same(said, [], 'the console is empty')
      t.same(
        requests.filter((url) => !url.startsWith(page.url)),
        [],
        'nothing leaves',
      )
    }

    await redis.kill()
    await wide.page.bringToFront()
    await sleep(500)
    await page.close()
    await wide.page.waitForFunction(`/not up to date/.test(document.getElementById('trouble').textContent)`)
    await redis.restart()
  },
)

void test('the page answers nobody else', { skip: notThere('redis-server') }, async (t) => {
  const redis = await startRedis(t)
  const page = await startFlowPage(redis.url, { port: 0 })
  t.teardown(() => page.close())
  const json: unknown = await (await fetch(`${page.url}flows.json`)).json()
  t.match(json, { schemaVersion: 1, queue: 'apr-stream', workers: 0, flows: [] })
  const { status } = await fetch(page.url, { method: 'POST' })
  t.equal(status, 405)
  const { request } = await import('node:http')
  const other = await new Promise((resolve) => {
    request(`${page.url}flows.json`, { headers: { host: 'evil.example' } }, (response) => {
      response.resume()
      resolve(response.statusCode)
    }).end()
  })
  t.equal(other, 403, 'a name of somebody else that leads here')
})
