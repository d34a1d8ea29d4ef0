/** An output is taken late and given up soon: a job that failed is not in the way of the one that follows it at once. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { aprReader, aprWriter, filterTensors, quantize, type QuantizeOptions, type TensorRecord } from 'apr-stream'
import { filesIn, fixture, run, SAMPLE, sameBytes } from '../helpers/files.js'
import { callsOf, holdings, intercept, unhandledIn, until } from '../helpers/faults.js'

const BAD = fixture('../hostile/checksum-wrong.apr')
const GOOD = fixture('golden_v2.apr')

void test('a pipeline that failed may be followed at once by one to the same output', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const failing: Record<string, () => Promise<unknown>> = {
    'its input is bad': () => pipeline(aprReader(BAD), aprWriter(output, { overwrite: true })),
    'a stage throws': () =>
      pipeline(
        aprReader(GOOD),
        // eslint-disable-next-line require-yield
        async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
          for await (const record of records) throw new Error(`at ${record.name}`)
        },
        aprWriter(output, { overwrite: true }),
      ),
    'it is ended': () =>
      pipeline(aprReader(GOOD), aprWriter(output, { overwrite: true }), { signal: AbortSignal.timeout(1) }),
  }
  const held = holdings()
  const unhandled = await unhandledIn(async () => {
    for (const [what, fail] of Object.entries(failing)) {
      const found: Record<string, number> = {}
      for (let n = 0; n < 40; n++) {
        await fail().catch(() => undefined)
        const code = await pipeline(aprReader(GOOD), aprWriter(output, { overwrite: true })).then(
          () => 'done',
          (error: unknown) => (error as { code: string }).code,
        )
        found[code] = (found[code] ?? 0) + 1
      }
      t.same(found, { done: 40 }, what)
    }
  })
  t.same(unhandled, [])
  t.same(filesIn(folder), ['out.apr'])
  t.equal(holdings().descriptors, held.descriptors)
})

void test('a job that was ended may be followed before it has settled', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  for (const mode of ['stream', 'memory'] as const) {
    const controller = new AbortController()
    const options: QuantizeOptions = { mode, recordBytes: 70_000, fit: 'minmax', overwrite: true }
    let second: Promise<unknown> | undefined
    const onProgress = (): void => {
      controller.abort()
      second ??= quantize(SAMPLE, output, options)
    }
    await t.rejects(quantize(SAMPLE, output, { ...options, signal: controller.signal, onProgress }), {
      name: 'AbortError',
    })
    await second
    t.same(filesIn(folder), ['out.apr'], mode)
  }
})

void test('a job whose predecessor puts its output in place finds it there', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  let second: Promise<unknown> | undefined
  await intercept(
    async (call, perform) => {
      if (call.label === 'remove out.apr.partial.journal' && second === undefined) {
        second = quantize(SAMPLE, output).then(
          () => 'done',
          (error: unknown) => (error as { code: string }).code,
        )
        await new Promise((done) => setTimeout(done, 20))
      }
      return await perform()
    },
    () => quantize(SAMPLE, output),
  )
  t.equal(await second, 'APR_EXISTS')
  t.same(filesIn(folder), ['out.apr'])
})

void test('an input that is refused, and a stream without a record, touch nothing at the output', async (t) => {
  const folder = t.testdir({ 'out.apr': 'old' })
  const output = join(folder, 'out.apr')
  const input = fixture('../hostile/magic-cut-short.apr')
  const jobs: Record<string, () => Promise<unknown>> = {
    'a pipeline': () => run([aprReader(input), aprWriter(output, { overwrite: true })]),
    'a pipeline from what is not there': () => run([aprReader(`${input}.none`), aprWriter(output)]),
    'no tensor is left': () => run([aprReader(SAMPLE), filterTensors(() => false), aprWriter(output)]),
    'no record at all': () => run([Readable.from([]), aprWriter(output)]),
    stream: () => quantize(input, output, { mode: 'stream', overwrite: true }),
    memory: () => quantize(input, output, { mode: 'memory', overwrite: true }),
  }
  for (const [what, job] of Object.entries(jobs)) {
    const calls = await callsOf(async () => {
      const code = what.startsWith('no ') ? 'APR_BAD_RECORD' : /^(APR_TRUNCATED|APR_BAD_MAGIC|ENOENT)$/
      await t.rejects(job(), { code }, what)
    })
    t.same(
      calls.filter(({ path }) => path.includes('out.apr')),
      [],
      `${what}: no call`,
    )
  }
  t.equal(readFileSync(output, 'utf8'), 'old')
  t.same(filesIn(folder), ['out.apr'])
})

void test('a writer that waits for no record is not in the way of another', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const waiting = aprWriter(output)
  await new Promise((done) => setTimeout(done, 20))
  await run([aprReader(SAMPLE), aprWriter(output)])
  sameBytes(t, readFileSync(output), readFileSync(SAMPLE), 'it is written')
  const closed = new Promise((done) => waiting.once('close', done))
  waiting.destroy()
  await closed
  t.same(filesIn(t.testdirName), ['out.apr'])
})

void test('a job that goes on is not waited for', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  writeFileSync(output, 'old')
  let count = 0
  const wait = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    for await (const record of records) {
      if (++count === 2) {
        await until(() => existsSync(`${output}.partial`))
        for (const mode of ['stream', 'memory'] as const) {
          const refusal = { code: 'APR_BUSY', message: /found that another job of this process is \(file/ }
          await t.rejects(quantize(SAMPLE, output, { mode, overwrite: true }), refusal, mode)
        }
      }
      yield record
    }
  }
  await run([aprReader(SAMPLE), wait, aprWriter(output, { overwrite: true })])
  sameBytes(t, readFileSync(output), readFileSync(SAMPLE), 'and is not disturbed')
})
