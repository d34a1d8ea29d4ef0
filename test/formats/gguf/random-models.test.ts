/** Random models of every dtype, rank and type of value through reader and writer: the same bytes, however they are read. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import { test } from 'tap'
import {
  arrayKv,
  ggufReader,
  ggufWriter,
  inspect,
  kv,
  verify,
  type ByteSource,
  type Kv,
  type ScalarType,
} from 'apr-stream'
import { FORMATS } from '../../../dist/formats/formats.js'
import { openInput } from '../../../dist/streams/open-input.js'
import { buildGguf, ggufBytes, GGUF_DTYPES, type GgufTensorFields } from '../../helpers/gguf-file.js'
import { layoutFiles } from '../../helpers/layout-files.js'
import { memorySource } from '../../helpers/memory-source.js'

const RUNS = Number(process.env['RANDOM_MODELS'] ?? 150)
const seed = Number(process.env['SEED'] ?? 1)

const VALUES: Readonly<Record<ScalarType, fc.Arbitrary<number | bigint | boolean | string>>> = {
  u8: fc.nat(255),
  i8: fc.integer({ min: -128, max: 127 }),
  u16: fc.nat(65_535),
  i16: fc.integer({ min: -32_768, max: 32_767 }),
  u32: fc.nat(4_294_967_295),
  i32: fc.integer(),
  u64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  i64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  f32: fc.float(),
  f64: fc.double(),
  bool: fc.boolean(),
  string: fc.string({ unit: 'binary' }),
}

const pair = fc
  .tuple(fc.constantFrom(...(Object.keys(VALUES) as ScalarType[])), fc.boolean())
  .chain(([type, isArray]) =>
    fc.tuple(
      fc.constant(type),
      fc.constant(isArray),
      fc.array(VALUES[type], { minLength: isArray ? 0 : 1, maxLength: 5 }),
    ),
  )
  .map(
    ([type, isArray, values]) =>
      (key: string): Kv =>
        isArray ? arrayKv(key, type, values) : kv(key, type, values[0] ?? 0),
  )

const tensor = fc
  .record({
    dtype: fc.constantFrom(...Object.keys(GGUF_DTYPES)),
    blocks: fc.constantFrom(0, 1, 1, 2, 3),
    // The rows of each further dimension; none of them and `blocks` of a plain dtype: a vector.
    outer: fc.array(fc.constantFrom(0, 1, 1, 2, 3), { maxLength: 3 }),
    isScalar: fc.boolean(),
    fill: fc.nat(100),
  })
  .map(({ dtype, blocks, outer, isScalar, fill }): GgufTensorFields => {
    const elements = GGUF_DTYPES[dtype]?.[1] ?? 1
    const dims = isScalar && elements === 1 ? [] : [blocks * elements, ...outer]
    // Bytes below 0x70: no scale of them is infinite.
    return { dtype, dims, data: Buffer.alloc(ggufBytes(dtype, dims), fill) }
  })

const model = fc.record({
  kvs: fc.array(pair, { maxLength: 6 }),
  keys: fc.uniqueArray(fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }), { minLength: 6, maxLength: 6 }),
  names: fc.uniqueArray(fc.string({ unit: 'binary', maxLength: 15 }), { minLength: 6, maxLength: 6 }),
  tensors: fc.array(tensor, { minLength: 1, maxLength: 6 }),
  alignment: fc.constantFrom(32, 32, 32, 1, 8, 64, 4096),
  maxFileTensors: fc.integer({ min: 1, max: 6 }),
  recordBytes: fc.constantFrom(1, 100, 1000, 2 ** 21),
})

void test('random models are read and written to the same bytes, whole and in parts', async (t) => {
  const folder = t.testdir({ parts: {} })
  const output = join(folder, 'out.gguf')
  const property = fc.asyncProperty(
    model,
    async ({ kvs, keys, names, tensors, alignment, maxFileTensors, recordBytes }) => {
      const pairs = kvs.map((make, i) => make(keys[i] ?? ''))
      if (alignment !== 32) pairs.push(kv('general.alignment', 'u32', alignment))
      const named = tensors.map((fields, i) => ({ ...fields, name: names[i] ?? '' }))
      const file = buildGguf({ kvs: pairs, tensors: named, alignment })

      const { tensors: found } = await inspect(memorySource(file))
      assert.deepEqual(
        found.map(({ name, dtype, shape, size }) => ({ name, dtype, dims: [...shape].reverse(), size })),
        named.map(({ name, dtype, dims, data }) => ({ name, dtype, dims, size: data?.length })),
      )
      await pipeline(
        ggufReader(memorySource(file), { recordBytes, highWaterMark: 1 }),
        ggufWriter(output, { overwrite: true }),
      )
      assert.ok(readFileSync(output).equals(file), 'written as it was read')

      const opened = await openInput(memorySource(file), FORMATS.gguf)
      const parts = await layoutFiles(FORMATS.gguf, opened, { name: 'm.gguf', maxFileTensors })
      await opened.input.close()
      for (const [name, bytes] of parts) writeFileSync(join(folder, 'parts', name), bytes)
      const first = join(folder, 'parts', [...parts.keys()][0] ?? '')
      assert.ok((await verify(first)).ok, 'parts are good')
      await pipeline(ggufReader(first), ggufWriter(output, { overwrite: true }))
      assert.ok(readFileSync(output).equals(file), 'joined to what it was')
    },
  )
  await t.resolves(fc.assert(property, { seed, numRuns: RUNS }))
})

void test('a source that gives a byte at a time, out of step, gives the same', async (t) => {
  const file = readFileSync('test/fixtures/hf/small/gguf/qwen3moe-stacked.Q4_K_M.gguf')
  const whole = memorySource(file)
  const slow: ByteSource = {
    name: whole.name,
    size: whole.size,
    async read(target, position) {
      const size = Math.max(1, Math.ceil(target.length / 50))
      const starts = Array.from({ length: Math.ceil(target.length / size) }, (_, i) => i * size)
      await Promise.all(
        starts.reverse().map((start) => whole.read(target.subarray(start, start + size), position + start)),
      )
    },
    close: () => whole.close(),
  }
  const output = join(t.testdir({}), 'out.gguf')
  await pipeline(ggufReader(slow), ggufWriter(output))
  t.ok(readFileSync(output).equals(file))
})

void test('a model of 20,000 tensors and 300,000 strings is opened and laid out in a moment', async (t) => {
  const words = Array.from({ length: 150_000 }, (_, i) => `token number ${i}`)
  const kvs = [
    arrayKv('tokens', 'string', words),
    arrayKv('merges', 'string', words),
    arrayKv(
      'types',
      'i32',
      words.map((_, i) => i % 7),
    ),
  ]
  const tensors = Array.from({ length: 20_000 }, (_, i) => ({
    name: `blk.${i % 97}.ffn.${i}.weight`,
    dims: [1],
    dtype: 'F32',
  }))
  const source = memorySource(buildGguf({ kvs, tensors }))
  const before = process.memoryUsage()
  const started = performance.now()
  const opened = await openInput(source, FORMATS.gguf)
  const layout = FORMATS.gguf.layout(opened.model as never, { name: 'x.gguf', isFolder: false })
  const ms = performance.now() - started
  t.equal(layout.files[0].fileSize, source.size)
  t.equal(layout.tensors.length, 20_000)
  t.ok(ms < 5000, `${ms.toFixed(0)} ms`)
  const after = process.memoryUsage()
  const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers
  t.ok(grown < 100 * 1024 * 1024, `${grown} bytes`)
  t.comment(`${ms.toFixed(0)} ms, ${grown} bytes`)
})
