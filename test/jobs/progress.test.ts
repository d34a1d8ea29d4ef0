import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { quantize, type Progress, type QuantizeOptions } from 'apr-stream'
import { arbitraryTensor, filesIn, modelBytes, SAMPLE } from '../helpers/files.js'
import { MemorySource } from '../helpers/files.js'

const TENSOR_BYTES = 1_238_532

/** All progress of a job, by phase in the order of their first call. */
async function phasesOf(input: string | MemorySource, output: string, options: QuantizeOptions) {
  const calls: Progress[] = []
  await quantize(input, output, { recordBytes: 100_000, overwrite: true, ...options, onProgress: (p) => calls.push(p) })
  const names = [...new Set(calls.map(({ phase }) => phase))]
  return names.map((name) => ({ name, calls: calls.filter(({ phase }) => phase === name), all: calls }))
}

void test('progress has phases; in each it only grows, and ends with all', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const expected = {
    stream: { quantizing: TENSOR_BYTES },
    memory: { reading: TENSOR_BYTES, quantizing: TENSOR_BYTES, writing: 253_252 },
  }
  for (const mode of ['stream', 'memory'] as const) {
    const phases = await phasesOf(SAMPLE, output, { mode })
    t.same(
      phases.map(({ name }) => name),
      Object.keys(expected[mode]),
      mode,
    )
    t.same(
      phases.flatMap(({ calls }) => calls),
      phases[0]?.all,
      'one after the other',
    )
    for (const { name, calls } of phases) {
      const totalBytes = (expected[mode] as Record<string, number>)[name]
      t.ok(calls.length >= 15, `${name}: once a record`)
      t.same(new Set(calls.map((call) => call.totalBytes)), new Set([totalBytes]))
      t.ok(
        calls.every(({ bytes, tensors }, i) => {
          const before = calls[i - 1] ?? { bytes: 0, tensors: 0 }
          return bytes > before.bytes && tensors >= before.tensors
        }),
        'never less than before',
      )
      t.match(calls.at(-1), { bytes: totalBytes, tensors: 15, totalTensors: 15 })
    }
  }
})

void test('mode memory tells how far it is while it reads', async (t) => {
  const file = modelBytes({
    tensors: Array.from({ length: 20 }, (_, i) => arbitraryTensor(`${i}.weight`, 'F32', [64, 256])),
  })
  const source = new MemorySource(file)
  const readAt: number[] = []
  const onProgress = ({ phase }: Progress): void => {
    if (phase === 'reading') readAt.push(source.reads.length)
  }
  await quantize(source, join(t.testdir(), 'out.apr'), {
    mode: 'memory',
    recordBytes: 65_536,
    highWaterMark: 1,
    onProgress,
  })
  t.equal(readAt.length, 20)
  t.ok(Number(readAt[0]) < Number(readAt.at(-1)), 'not all was read when it was told first')
})

void test('what a resumed job reads back is a phase of its own', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  const tensors = Array.from({ length: 40 }, (_, i) => arbitraryTensor(`${i}.weight`, 'F32', [512, 256], i))
  writeFileSync(input, modelBytes({ tensors }))
  const options: QuantizeOptions = { resume: true, highWaterMark: 1, fit: 'minmax' }
  const controller = new AbortController()
  const stop = quantize(input, output, {
    ...options,
    signal: controller.signal,
    onProgress: ({ tensors }) => tensors === 30 && controller.abort(),
  })
  await t.rejects(stop, { name: 'AbortError' })
  const [checking, quantizing] = await phasesOf(input, output, options)
  t.match([checking?.name, quantizing?.name], ['checking', 'quantizing'])
  const last = checking?.calls.at(-1)
  t.ok(last && last.tensors > 0 && last.tensors === last.totalTensors)
  t.equal(last?.bytes, last?.totalBytes)
  t.equal(last?.totalBytes, Number(last?.tensors) * 512 * 144)
  t.match(quantizing?.calls.at(-1), { tensors: 40, bytes: 40 * 512 * 1024 }, 'all of the input is read again')
  t.ok(statSync(output).size > 40 * 512 * 144)
})

void test('what onProgress throws ends the job in every phase', async (t) => {
  const folder = t.testdir()
  for (const phase of ['reading', 'quantizing', 'writing'] as const) {
    const failure = new Error(phase)
    const onProgress = (progress: Progress): void => {
      if (progress.phase === phase && progress.tensors === 3) throw failure
    }
    await t.rejects(quantize(SAMPLE, join(folder, 'out.apr'), { mode: 'memory', onProgress }), failure)
    t.same(filesIn(folder), [])
  }
})
