/** The way of many cores makes what the streams make: the same bytes, errors and reports, and leaves the same behind. */
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { test } from 'tap'
import { convert, quantize, type ConvertOptions, type QuantizeOptions } from 'apr-stream'
import { arbitraryTensor, modelBytes } from '../helpers/files.js'
import { goldenFolder } from '../helpers/golden-hf.js'
import { fileOf, policy, randomModel } from '../helpers/random-models.js'

type Way = 'always' | 'never'

/** Runs a job by one way or the other. */
async function by<T>(way: Way, work: () => Promise<T>): Promise<T> {
  process.env['APR_MANY_CORES'] = way
  try {
    return await work()
  } finally {
    delete process.env['APR_MANY_CORES']
  }
}

async function quantizeBy(way: Way, input: string, output: string, options: QuantizeOptions = {}) {
  const report = await by(way, () => quantize(input, output, { mode: 'stream', overwrite: true, ...options }))
  return { report, file: readFileSync(output) }
}

void test('random models become the same file, with the same report', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  const recordBytes = fc.integer({ min: 256, max: 20_000 })
  const property = fc.asyncProperty(randomModel(), policy, recordBytes, async (model, chosen, size) => {
    writeFileSync(input, fileOf(model))
    const options = { ...chosen, recordBytes: size }
    const stream = await quantizeBy('never', input, output, options)
    const threads = await quantizeBy('always', input, output, options)
    if (!stream.file.equals(threads.file)) throw new Error('other bytes')
    const [a, b] = [stream.report, threads.report].map(({ warnings }) => warnings.toSorted().join('\n'))
    if (a !== b) throw new Error(`${a}\ninstead of\n${b}`)
  })
  await t.resolves(fc.assert(property, { seed: Number(process.env['SEED'] ?? 1), numRuns: 30 }))
})

void test('conversions and recipes with importance become the same file, whole and in parts', async (t) => {
  const folder = t.testdir()
  const name = 'Golden-Llama-3.2-Instruct'
  const imatrix = `test/fixtures/hf/small/imatrix/${name}/imatrix.gguf`
  const recipe: QuantizeOptions = { recipe: 'Q4_K_M', pre: 'llama-bpe', imatrix, types: { attn_output: 'Q5_0' } }
  const both = await Promise.all([
    quantizeBy('never', goldenFolder(name), join(folder, 'a.gguf'), recipe),
    quantizeBy('never', goldenFolder('mixtral-eight'), join(folder, 'b.gguf'), { recipe: 'Q3_K_M', pre: 'tekken' }),
  ])
  const [first, second] = both
  t.ok(first.file.equals((await quantizeBy('always', goldenFolder(name), join(folder, 'a.gguf'), recipe)).file))
  const options: QuantizeOptions = { recipe: 'Q3_K_M', pre: 'tekken' }
  t.ok(
    second.file.equals(
      (await quantizeBy('always', goldenFolder('mixtral-eight'), join(folder, 'b.gguf'), options)).file,
    ),
  )
  const conversion: ConvertOptions = { pre: 'llama-bpe', outtype: 'f32', splitMaxBytes: 500_000, overwrite: true }
  const files: Buffer[][] = []
  for (const way of ['never', 'always'] as const) {
    const { files: made } = await by(way, () => convert(goldenFolder(name), join(folder, 'c.gguf'), conversion))
    t.ok(made.length > 2, 'several files')
    files.push(made.map((file) => readFileSync(join(folder, file.name))))
  }
  t.strictSame(files[1], files[0])
})

void test('what is wrong with a value or a file is told as by the streams, and nothing is left', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  const tensors = ['a', 'b', 'c'].map((name, i) => arbitraryTensor(`${name}.weight`, 'F32', [300, 512], i))
  const good = modelBytes({ tensors })
  const bad = tensors.map(({ bytes }) => Buffer.from(bytes))
  bad[1]?.writeFloatLE(NaN, 4 * 100_001)
  const inputs = {
    value: modelBytes({ tensors: tensors.map((tensor, i) => ({ ...tensor, bytes: bad[i] ?? tensor.bytes })) }),
    checksum: Buffer.concat([good.subarray(0, -4), Buffer.from([1, 2, 3, 4])]),
  }
  for (const [what, bytes] of Object.entries(inputs)) {
    writeFileSync(input, bytes)
    const errors = []
    for (const way of ['never', 'always'] as const) {
      const error = await quantizeBy(way, input, output, { recordBytes: 50_000 }).then(String, (e: unknown) => e)
      errors.push(JSON.stringify(error))
      t.strictSame(readdirSync(folder), ['in.apr'], `${what}: nothing is left`)
    }
    t.match(errors[0], what === 'value' ? /APR_BAD_VALUE.*"element":100001/ : /APR_BAD_CRC/)
    t.equal(errors[1], errors[0], what)
  }
})

void test('a run that resumes goes on with what the other way has left, whichever it was', async (t) => {
  for (const [before, after] of [
    ['always', 'never'],
    ['never', 'always'],
  ] as const) {
    const folder = t.testdir()
    const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
    const tensors = Array.from({ length: 24 }, (_, i) => arbitraryTensor(`${i}.weight`, 'F32', [256, 512], i))
    writeFileSync(input, modelBytes({ tensors }))
    const options: QuantizeOptions = { fit: 'minmax', highWaterMark: 1, threads: 1 }
    const whole = await quantizeBy('never', input, output, options)
    const stop = new Error('enough')
    const broken = quantizeBy(before, input, join(folder, 'other.apr'), {
      ...{ ...options, resume: true },
      onProgress: ({ phase, tensors: done }) => {
        if (phase === 'quantizing' && done >= 12) throw stop
      },
    })
    await t.rejects(broken, stop)
    t.ok(existsSync(join(folder, 'other.apr.partial')), 'kept for the next run')
    const { report, file } = await quantizeBy(after, input, join(folder, 'other.apr'), { ...options, resume: true })
    t.ok(report.resumedTensors > 0, `${before}, then ${after}: ${report.resumedTensors} tensors were there`)
    t.ok(file.equals(whole.file))
  }
})

void test('a thread that dies, and a signal, end the job; nothing is left', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  const tensors = Array.from({ length: 24 }, (_, i) => arbitraryTensor(`${i}.weight`, 'F32', [256, 512], i))
  writeFileSync(input, modelBytes({ tensors }))
  const workers: Worker[] = []
  const onWorker = (worker: Worker): void => void workers.push(worker)
  process.on('worker', onWorker)
  t.teardown(() => process.off('worker', onWorker))
  const dying = quantizeBy('always', input, output, { onProgress: () => void workers.at(-1)?.terminate() })
  await t.rejects(dying, { code: 'APR_WORKER' })
  t.strictSame(readdirSync(folder), ['in.apr'])
  const controller = new AbortController()
  const { signal } = controller
  const aborted = quantizeBy('always', input, output, { signal, onProgress: () => controller.abort(new Error('no')) })
  await t.rejects(aborted, { name: 'AbortError', cause: new Error('no') })
  t.strictSame(readdirSync(folder), ['in.apr'])
  t.ok(workers.length >= 2)
})
