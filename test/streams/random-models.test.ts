/**
 * Random models through every way there is: all give the same bytes, and they are those of a plain computation.
 *
 * For longer: `RANDOM_MODELS=5000 SEED=7 npx tap --timeout=0 test/streams/random-models.test.ts`
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { test } from 'tap'
import { aprReader, aprWriter, q4k, quantize, verify, type QuantizeOptions } from 'apr-stream'
import { threadsFor } from '../../dist/threads/executor.js'
import { arbitraryTensor, run } from '../helpers/files.js'
import {
  announced,
  edited,
  fileOf,
  largeTensor,
  metadataEdit,
  policy,
  quantizedModel,
  randomModel,
  tensorEdit,
  unannounced,
  type Edit,
  type RandomModel,
} from '../helpers/random-models.js'

type Options = Pick<QuantizeOptions, 'fit' | 'kept' | 'threads' | 'recordBytes' | 'highWaterMark'>

const RUNS = Number(process.env['RANDOM_MODELS'] ?? 80)
const seed = Number(process.env['SEED'] ?? 1)

/** Elements for which a thread starts. */
const THREAD_ELEMENTS = 4 * 1024 * 1024

const sizes = fc.record({
  recordBytes: fc.oneof(fc.constantFrom(1, 1024), fc.integer({ min: 1, max: 200_000 })),
  highWaterMark: fc.oneof(fc.constantFrom(1), fc.integer({ min: 1, max: 500_000 })),
})

void test('a tensor without elements, widened before anything else is converted, leaves the checksum right', async (t) => {
  for (const dtype of ['BF16', 'F64', 'APR_Q4', 'APR_Q8'] as const) {
    const tensors = [arbitraryTensor('cache', dtype, [0, 64]), arbitraryTensor('w.weight', 'F32', [4, 256])]
    const model = { tensors, metadata: { name: 'm' }, flags: 0x0400 }
    const expected = quantizedModel(model, { fit: 'search', kept: 'auto' })
    await t.resolves(everyWay(t.testdir(), model, expected, {}), dtype)
  }
})

void test('random models give the same bytes in memory, as a stream and in a pipeline, and these verify', async (t) => {
  const folder = t.testdir()
  const property = fc.asyncProperty(randomModel(), policy, sizes, async (model, policy, sizes) => {
    await everyWay(folder, model, quantizedModel(model, policy), { ...policy, ...sizes })
  })
  await t.resolves(fc.assert(property, { seed, numRuns: RUNS }))
})

void test('so do models that are large enough for worker threads', async (t) => {
  const folder = t.testdir()
  const fields = fc.constantFrom(1, 2).chain((threads) => {
    const model = randomModel(largeTensor(threads * THREAD_ELEMENTS))
    return fc.record({ model, policy, threads: fc.constant(threads) })
  })
  const property = fc.asyncProperty(fields, async ({ model, policy: { kept }, threads }) => {
    assert.equal(threadsFor(threads * THREAD_ELEMENTS, threads), threads)
    const expected = quantizedModel(model, { fit: 'search', kept })
    await everyWay(folder, model, expected, { kept, threads, recordBytes: 500_000 })
  })
  await t.resolves(fc.assert(property, { seed, numRuns: Math.ceil(RUNS / 40) }))
})

void test('stages that edit give the file of the edited model, whether they announce it or not', async (t) => {
  const folder = t.testdir()
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ edit: tensorEdit, isAnnounced: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ edit: metadataEdit, isAnnounced: fc.constant(true) }) },
  )
  const steps = fc.array(step, { maxLength: 3 })
  const stages = (all: readonly { edit: Edit; isAnnounced: boolean }[]): unknown[] =>
    all.flatMap(({ edit, isAnnounced }) => (isAnnounced ? announced(edit) : [unannounced(edit)]))
  const property = fc.asyncProperty(
    fc.record({ model: randomModel(), policy, sizes, before: steps, after: steps }),
    async ({ model, policy, sizes, before, after }) => {
      const source = before.reduce((made, { edit }) => edited(made, edit), model)
      const quantized = quantizedModel(source, policy)
      const expected = after.reduce((made, { edit }) => edited(made, edit), quantized)
      fc.pre(expected.tensors.length > 0)
      const input = join(folder, 'in.apr')
      const output = join(folder, 'out.apr')
      writeFileSync(input, fileOf(model))
      const writer = aprWriter(output, { overwrite: true })
      // The records of a tensor that is to have other rows are cut by those that it has.
      const isReshaped = before.some(({ edit }) => edit.what.startsWith('reshape'))
      const reader = aprReader(input, isReshaped ? {} : sizes)
      await run([reader, ...stages(before), q4k(policy), ...stages(after), writer])
      assertSame(readFileSync(output), fileOf(expected), 'edited')
    },
  )
  await t.resolves(fc.assert(property, { seed, numRuns: 2 * RUNS }))
})

/** Quantizes a model in both modes and in a pipeline, and compares all the bytes. */
async function everyWay(folder: string, model: RandomModel, expected: RandomModel, options: Options): Promise<void> {
  const input = join(folder, 'in.apr')
  const output = join(folder, 'out.apr')
  const { recordBytes = 2 ** 21, highWaterMark = 2 ** 23, ...rest } = options
  const file = fileOf(expected)
  writeFileSync(input, fileOf(model))
  const ways = {
    memory: () => quantize(input, output, { ...options, mode: 'memory', overwrite: true }),
    stream: () => quantize(input, output, { ...options, mode: 'stream', overwrite: true }),
    pipeline: () =>
      run([aprReader(input, { recordBytes, highWaterMark }), q4k(rest), aprWriter(output, { overwrite: true })]),
  }
  for (const [way, make] of Object.entries(ways)) {
    await make()
    const made = readFileSync(output)
    assertSame(made, file, way)
    assert.equal(made.readUInt32LE(made.length - 4), crc32(made.subarray(0, -4)), `${way}: the checksum`)
    const { ok, error } = await verify(output)
    assert.ok(ok, `${way}: ${error?.message ?? ''}`)
  }
}

/** Throws, unlike the one for a test's own assertions: a property fails by that. */
function assertSame(found: Buffer, expected: Buffer, what: string): void {
  if (found.equals(expected)) return
  const at = found.findIndex((byte, i) => byte !== expected[i])
  const from = Math.max(0, at - 100)
  const show = (bytes: Buffer): string => JSON.stringify(bytes.toString('latin1', from, at + 100))
  const lengths = `${found.length} bytes, expected ${expected.length}`
  assert.fail(`${what}: ${lengths}; they differ at ${at}:\n${show(found)}\n${show(expected)}`)
}
