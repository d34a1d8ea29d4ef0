import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { aprReader, aprWriter, convert, q4k, quantize, type DiagnosticsMessage } from 'apr-stream'
import { filesIn, SAMPLE } from '../helpers/files.js'

/** What is published while `work` runs. */
async function messagesOf(work: () => Promise<unknown>): Promise<DiagnosticsMessage[]> {
  const messages: DiagnosticsMessage[] = []
  const listen = (message: unknown): unknown => messages.push(message as DiagnosticsMessage)
  subscribe('apr-stream', listen)
  try {
    await work().catch(() => undefined)
  } finally {
    unsubscribe('apr-stream', listen)
  }
  return messages
}

void test('a job tells its start and its end, and when its output was claimed', async (t) => {
  const output = join(realpathSync(t.testdir()), 'out.apr')
  for (const mode of ['stream', 'memory'] as const) {
    const messages = await messagesOf(() => quantize(SAMPLE, output, { mode, overwrite: true }))
    const [begun, locked, unlocked, ended] = messages
    t.equal(messages.length, 4)
    t.match(begun, { type: 'job-start', job: Number, input: SAMPLE, output })
    t.same(locked, { type: 'output-locked', output })
    t.same(unlocked, { type: 'output-unlocked', output })
    t.match(ended, { type: 'job-end', input: SAMPLE, output, report: { output, quantized: 7, mode } })
    t.ok(begun?.type === 'job-start' && ended?.type === 'job-end' && begun.job === ended.job && !('error' in ended))
  }
})

void test('a job that fails tells the error, after it has given its output up', async (t) => {
  const folder = realpathSync(t.testdir())
  const output = join(folder, 'out.apr')
  const failure = new Error('from onProgress')
  let error: unknown
  const onProgress = (): void => {
    throw failure
  }
  const messages = await messagesOf(() =>
    quantize(SAMPLE, output, { onProgress }).catch((reason: unknown) => (error = reason)),
  )
  t.same(
    messages.map(({ type }) => type),
    ['job-start', 'output-locked', 'output-unlocked', 'job-end'],
  )
  const end = messages.at(-1)
  t.ok(end?.type === 'job-end' && end.error === error && end.report === undefined)
  t.equal(error, failure)

  const refused = await messagesOf(() => quantize('missing.apr', output))
  t.match(refused, [
    { type: 'job-start', input: 'missing.apr' },
    { type: 'job-end', error: { code: 'ENOENT' } },
  ])
  t.same(filesIn(folder), [])
})

void test('a conversion tells its start and its end, with its report or its error', async (t) => {
  const folder = realpathSync(t.testdir())
  const output = join(folder, 'out.gguf')
  const input = 'test/fixtures/hf/hostile/folders/00-good'
  const [begun, locked, unlocked, ended, ...more] = await messagesOf(() => convert(input, output, { pre: 'smollm' }))
  t.match(begun, { type: 'job-start', job: Number, input, output })
  t.same(locked, { type: 'output-locked', output })
  t.same(unlocked, { type: 'output-unlocked', output })
  t.match(ended, { type: 'job-end', input, output, report: { output, outputFormat: 'gguf', tensors: 11 } })
  t.ok(begun?.type === 'job-start' && ended?.type === 'job-end' && begun.job === ended.job && !('error' in ended))
  t.same(more, [])

  const refused = await messagesOf(() => convert(input, join(folder, 'other.gguf')))
  t.match(refused, [{ type: 'job-start' }, { type: 'job-end', error: { code: 'APR_UNSUPPORTED' } }])
  t.same(filesIn(folder), ['out.gguf'])
})

void test('a pipeline tells when its output was claimed', async (t) => {
  const output = join(realpathSync(t.testdir()), 'out.apr')
  t.same(await messagesOf(() => pipeline(aprReader(SAMPLE), q4k(), aprWriter(output))), [
    { type: 'output-locked', output },
    { type: 'output-unlocked', output },
  ])
})
