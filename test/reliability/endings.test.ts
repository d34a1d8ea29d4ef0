/** However a job ends: its source is closed once, and an abort is an AbortError with the reason as its cause. */
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { addAbortSignal, PassThrough, Readable } from 'node:stream'
import { test } from 'tap'
import { aprReader, aprWriter, inspect, plan, q4k, quantize, verify, type QuantizeOptions } from 'apr-stream'
import { filesIn, MemorySource, run, SAMPLE } from '../helpers/files.js'

const BYTES = readFileSync(SAMPLE)
const BAD = { highWaterMark: -1 }

void test('a source is closed once, however a job ends', async (t) => {
  const folder = t.testdir({ 'stands.apr': 'in the way' })
  const output = join(folder, 'out.apr')
  const taken = join(folder, 'stands.apr')
  const throwing = (): never => {
    throw new Error('mine')
  }
  const endings: Record<string, (source: MemorySource) => unknown> = {
    'a stream read to its end': (source) => aprReader(source).toArray(),
    'destroy before the first read': async (source) => {
      const reader = aprReader(source)
      reader.destroy()
      await once(reader, 'close')
    },
    'an iterator left before it has begun': (source) => aprReader(source)[Symbol.asyncIterator]().return?.(),
    'a loop that is left': async (source) => {
      for await (const record of aprReader(source)) if (record.offset === 0) break
    },
    'a signal that is aborted already': async (source) => {
      const reader = addAbortSignal(AbortSignal.abort(), aprReader(source))
      await once(reader, 'close')
    },
    'a pipeline whose signal is aborted already': (source) =>
      run([aprReader(source), q4k(), aprWriter(output)], { signal: AbortSignal.abort() }),
    'a failing writer': (source) => run([aprReader(source), aprWriter(taken)]),
    'bad options of aprReader': (source) => aprReader(source, { recordBytes: 0 }),
    'unknown options of aprReader': (source) => aprReader(source, { bytes: 1 } as object),
    'bad options of quantize': (source) => quantize(source, output, BAD),
    'unknown options of quantize': (source) => quantize(source, output, { fitt: 1 } as object),
    'no output of quantize': (source) => quantize(source, ''),
    'resume in memory': (source) => quantize(source, output, { resume: true, mode: 'memory' }),
    'a bad mode of quantize': (source) => quantize(source, output, { mode: 'fast' as 'stream' }),
    'an aborted signal of quantize': (source) => quantize(source, output, { signal: AbortSignal.abort() }),
    'an output of quantize that stands': (source) => quantize(source, taken),
    'a failing onProgress': (source) => quantize(source, output, { onProgress: throwing, mode: 'stream' }),
    'a failing onProgress in memory': (source) => quantize(source, output, { onProgress: throwing, mode: 'memory' }),
    'a failing select': (source) => quantize(source, output, { select: throwing }),
    'bad options of plan': (source) => plan(source, BAD),
    'unknown options of plan': (source) => plan(source, { fitt: 1 } as object),
    plan: (source) => plan(source),
    inspect: (source) => inspect(source),
    verify: (source) => verify(source),
    quantize: (source) => quantize(source, join(folder, 'done.apr')),
  }
  for (const [name, end] of Object.entries(endings)) {
    const source = new MemorySource(BYTES)
    await Promise.resolve()
      .then(() => end(source))
      .catch(() => undefined)
    t.equal(source.closed, 1, name)
  }
  for (let at = 0; at < 5; at++) {
    const failing = (): MemorySource =>
      new MemorySource(BYTES, (n) => (n === at ? Promise.reject(new Error('no')) : undefined))
    for (const mode of ['stream', 'memory'] as const) {
      const source = failing()
      await quantize(source, output, { mode }).catch(() => undefined)
      t.equal(source.closed, 1, `${mode}: failing read ${at}`)
    }
    const source = failing()
    await run([aprReader(source), aprWriter(output)]).catch(() => undefined)
    t.equal(source.closed, 1, `pipeline: failing read ${at}`)
  }
})

void test('an abort is an AbortError, and the reason is its cause', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  for (const reason of ['a text', new Error('mine'), 0, null]) {
    const expected = { name: 'AbortError', code: 'ABORT_ERR', cause: reason }
    const rejects = async (
      name: string,
      job: (controller: AbortController) => Promise<unknown>,
      wanted: object = expected,
    ): Promise<void> => {
      const error: unknown = await job(new AbortController()).catch((error: unknown) => error)
      t.match(error, Error, name)
      const { name: kind, code, cause } = error as Error & { code: string }
      t.strictSame({ name: kind, code, cause }, wanted, `${name}, ${String(reason)}`)
      t.same(filesIn(join(output, '..')), [], 'nothing is left')
    }
    const abortIn = (controller: AbortController, at: number) => (read: number) => {
      if (read === at) controller.abort(reason)
      return undefined
    }
    for (const mode of ['stream', 'memory'] as const) {
      const start = (source: MemorySource | string, controller: AbortController, options: QuantizeOptions = {}) =>
        quantize(source, output, { mode, signal: controller.signal, ...options })
      await rejects(`${mode}: before the start`, (controller) => {
        controller.abort(reason)
        return start(SAMPLE, controller)
      })
      for (const at of [0, 1, 2, 3, 4, 5]) {
        await rejects(`${mode}: in read ${at}`, (controller) =>
          start(new MemorySource(BYTES, abortIn(controller, at)), controller),
        )
      }
      await rejects(`${mode}: with the first record`, (controller) =>
        start(SAMPLE, controller, { onProgress: () => controller.abort(reason) }),
      )
      await rejects(`${mode}: with the last record`, (controller) =>
        start(SAMPLE, controller, {
          onProgress: ({ bytes, totalBytes }) => {
            if (bytes === totalBytes) controller.abort(reason)
          },
        }),
      )
    }
    // The error of a pipeline is Node's own. Older versions, as 20.15, leave its cause out.
    const ofNode: unknown = await run([Readable.from(['a']), new PassThrough()], {
      signal: AbortSignal.abort(reason),
    }).catch((error: unknown) => error)
    await rejects(
      'pipeline',
      (controller) => {
        const stages = [aprReader(new MemorySource(BYTES, abortIn(controller, 4))), q4k(), aprWriter(output)]
        return run(stages, { signal: controller.signal })
      },
      { ...expected, cause: (ofNode as Error).cause },
    )
  }
})
