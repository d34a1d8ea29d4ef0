import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { aprReader, aprWriter, filterTensors, q4k, type TensorRecord } from 'apr-stream'
import { arbitraryTensor, filesIn, MemorySource, modelBytes, sameBytes } from '../helpers/files.js'

const REUSED = { name: 'AprError', code: 'APR_REUSED' }
const TENSORS = [
  arbitraryTensor('a.weight', 'F32', [512, 256], 1),
  arbitraryTensor('b.weight', 'F32', [4, 8], 2),
  arbitraryTensor('c.weight', 'F32', [0, 8], 3),
  arbitraryTensor('d.weight', 'F16', [600, 256], 4),
]
const MODEL = modelBytes({ tensors: TENSORS, metadata: '{}' })
const TINY = modelBytes({ tensors: TENSORS.slice(1, 3), metadata: '{}' })
const reader = (bytes = MODEL): ReturnType<typeof aprReader> => aprReader(new MemorySource(bytes))
const keep = (): boolean => true

async function* pass(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) yield record
}

void test('a stage that a pipeline has used is refused by the next', async (t) => {
  const folder = t.testdir()
  const stages = { reader: reader(), filter: filterTensors(keep), q4k: q4k(), writer: aprWriter(join(folder, 'a.apr')) }
  await pipeline(stages.reader, stages.filter, stages.q4k, stages.writer)
  const output = join(folder, 'b.apr')
  const jobs: Record<string, () => Promise<unknown>> = {
    reader: () => pipeline(stages.reader, aprWriter(output)),
    'reader before a generator': () => pipeline(stages.reader, pass, aprWriter(output)),
    'reader in a loop': async () => {
      for await (const record of stages.reader) t.fail(record.name)
    },
    filter: () => pipeline(reader(), stages.filter, aprWriter(output)),
    q4k: () => pipeline(reader(), stages.q4k, aprWriter(output)),
    'q4k behind a generator': () => pipeline(reader(), pass, stages.q4k, aprWriter(output)),
    writer: () => pipeline(reader(), stages.writer),
    'writer behind a generator': () => pipeline(reader(), pass, stages.writer),
  }
  for (const [name, job] of Object.entries(jobs)) await t.rejects(job(), REUSED, name)
  t.same(filesIn(folder), ['a.apr'])
  sameBytes(t, readFileSync(join(folder, 'a.apr')).subarray(0, 4), Buffer.from('APR\0'), 'what was written stays')
})

void test('a stage that a pipeline has left early is refused by the next', async (t) => {
  const used = reader()
  for await (const record of used) if (record.offset === 0) break
  await t.rejects(pipeline(used, new PassThrough({ objectMode: true }).resume()), REUSED)
})

void test('two pipelines do not share a stage', async (t) => {
  const folder = t.testdir()
  const output = (name: string): string => join(folder, name)
  const both = async (...jobs: Promise<unknown>[]): Promise<void> => {
    const results = await Promise.allSettled(jobs)
    t.ok(results.some((result) => result.status === 'rejected' && t.match(result.reason, REUSED)))
  }
  const source = reader()
  await both(pipeline(source, aprWriter(output('a'))), pipeline(source, aprWriter(output('b'))))
  const stage = q4k()
  await both(pipeline(reader(), stage, aprWriter(output('a'))), pipeline(reader(), stage, aprWriter(output('b'))))
  const writer = aprWriter(output('a'))
  await both(pipeline(reader(), writer), pipeline(reader(), writer))
  t.same(filesIn(folder), [])
})

void test('a record that goes to two consumers is an error, or its bytes are right', async (t) => {
  const folder = t.testdir()
  const GONE = /a record passed on twice needs a copy \(data\.slice\(\)\)/
  const copies = modelBytes({ tensors: TENSORS, metadata: '{}' })
  for (const [name, bytes] of Object.entries({ MODEL, TINY })) {
    for (const [first, second] of [
      [[], []],
      [[q4k()], []],
      [[], [q4k()]],
      [[filterTensors(() => false)], []],
      [[filterTensors(keep), q4k()], [q4k({ fit: 'minmax' })]],
    ] as const) {
      const tee = reader(bytes).pipe(new PassThrough({ objectMode: true }))
      const [a, b] = [join(folder, 'a.apr'), join(folder, 'b.apr')]
      const branch = (): PassThrough => tee.pipe(new PassThrough({ objectMode: true }))
      const results = await Promise.allSettled([
        pipeline([branch(), ...first, aprWriter(a, { overwrite: true })]),
        pipeline([branch(), ...second, aprWriter(b, { overwrite: true })]),
      ])
      const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []))
      t.ok(
        errors.some(({ message }) => GONE.test(message)),
        `${name}: ${first.length} and ${second.length} stages: ${errors.map(({ message }) => message).join()}`,
      )
    }
  }
  // Data of a user's own is the user's to pass on as often as wanted.
  const records = TENSORS.map(({ bytes, ...tensor }) => ({ ...tensor, offset: 0, data: new Uint8Array(bytes) }))
  const models: TensorRecord[] = []
  for await (const record of reader()) models.push(record)
  const [model] = models.map((record) => record.model)
  for (const name of ['a', 'b']) {
    const output = join(folder, `own-${name}.apr`)
    await pipeline(Readable.from(records.map((record) => ({ ...record, model }))), aprWriter(output))
    sameBytes(t, readFileSync(output), copies, name)
  }
})
