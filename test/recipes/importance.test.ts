import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { arrayKv, kv, openFile, type ByteSource } from 'apr-stream'
import { test, type Test } from 'tap'
import { openImportance, usesImportance } from '../../dist/recipes/importance/importance.js'
import { buildGguf, type GgufTensorFields } from '../helpers/gguf-file.js'
import { memorySource } from '../helpers/memory-source.js'

const ROOT = 'test/fixtures/hf/small/imatrix'
const MODELS = readdirSync(ROOT).filter((name) => !name.includes('.'))
const KVS = [
  kv('general.type', 'string', 'imatrix'),
  arrayKv('imatrix.datasets', 'string', ['first.txt', 'second.txt']),
  kv('imatrix.chunk_count', 'u32', 9),
  kv('imatrix.chunk_size', 'u32', 512),
]

const f32 = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer)
const i32 = (...values: number[]): Buffer => Buffer.from(Int32Array.from(values).buffer)
const text = (value: string): Buffer => Buffer.concat([i32(Buffer.byteLength(value)), Buffer.from(value)])

/** The two tensors of an entry, of matrices of 4 columns. */
function entry(name: string, sums: number[], counts: number[]): GgufTensorFields[] {
  return [
    { name: `${name}.in_sum2`, dims: [sums.length / counts.length, counts.length], data: f32(...sums) },
    { name: `${name}.counts`, dims: [1, counts.length], data: f32(...counts) },
  ]
}

function ggufMatrix(...entries: GgufTensorFields[][]): Buffer {
  return buildGguf({ kvs: KVS, tensors: entries.flat() })
}

function dat(count: number, entries: readonly [string, number, number[]][], ...tail: Buffer[]): Buffer {
  const parts = entries.map(([name, calls, values]) =>
    Buffer.concat([text(name), i32(calls, values.length), f32(...values)]),
  )
  return Buffer.concat([i32(count), ...parts, ...tail])
}

for (const name of MODELS) {
  void test(`both forms of the matrix of ${name} have its values`, async (t) => {
    const bytes = readFileSync(join(ROOT, name, 'imatrix.dat'))
    const older = await openImportance(await openFile(join(ROOT, name, 'imatrix.dat')))
    const newer = await openImportance(await openFile(join(ROOT, name, 'imatrix.gguf')))
    for (const importance of [older, newer]) {
      t.equal(importance.entries, bytes.readInt32LE(0))
      t.equal(importance.dataset, 'calibration.txt')
      t.ok((importance.chunks ?? 0) > 0)
      await importance.check()
    }
    t.equal(older.chunks, newer.chunks)
    // The older form, read a second time in the plain way.
    let at = 4
    for (let i = 0; i < older.entries; i++) {
      const end = at + 4 + bytes.readInt32LE(at)
      const tensor = bytes.toString('utf8', at + 4, end)
      const [calls, size] = [bytes.readInt32LE(end), bytes.readInt32LE(end + 4)]
      const expected = Float32Array.from({ length: size }, (_, j) => bytes.readFloatLE(end + 8 + j * 4) / calls)
      t.ok(older.has(tensor) && newer.has(tensor), tensor)
      t.equal(newer.sizeOf(tensor), size)
      t.strictSame(await older.read(tensor), expected)
      const values = await newer.read(tensor)
      // One is divided twice, so its last bits may be others.
      t.ok(
        values.every((value, j) => Math.abs(value / (expected[j] ?? 0) - 1) < 1e-6 || value === expected[j]),
        tensor,
      )
      at = end + 8 + size * 4
    }
    await Promise.all([older.close(), newer.close()])
    t.end()
  })
}

void test('what a matrix was never measured with has ones, what it was is divided', async (t) => {
  const sums = [1, 2, 3, 4, NaN, Infinity, -1, 0, 1, 1e-45, 3, 3e38]
  const importance = await openImportance(memorySource(ggufMatrix(entry('a', sums, [3, 0, 7]))))
  const expected = [...[1, 2, 3, 4].map((x) => x / 3), 1, 1, 1, 1, ...[1, 1e-45, 3, 3e38].map((x) => x / 7)]
  t.strictSame(await importance.read('a'), Float32Array.from(expected.map(Math.fround)))
  t.strictSame(await importance.read('a', 3, 6), Float32Array.from(expected.map(Math.fround)).subarray(3, 9))
  t.strictSame(await importance.read('a', 9), Float32Array.from(expected.map(Math.fround)).subarray(9))
  await t.rejects(importance.read('a', 11, 2))
  await t.rejects(importance.read('b'))
  await importance.check()
  t.equal(importance.chunks, 9)
  t.equal(importance.dataset, 'first.txt')
  t.end()
})

void test('counts are rounded to whole numbers', async (t) => {
  const importance = await openImportance(memorySource(ggufMatrix(entry('a', [8, 8, 8], [2.5, 0.4, 1.6]))))
  t.strictSame([...(await importance.read('a'))], [Math.fround(8 / 3), 1, 4])
  t.end()
})

void test('parts of names take entries in or leave them out', async (t) => {
  const bytes = ggufMatrix(...['blk.0.attn_q', 'blk.0.ffn_up', 'blk.1.ffn_up'].map((name) => entry(name, [1, 2], [1])))
  const open = (options: object) => openImportance(memorySource(bytes), options)
  t.equal((await open({})).entries, 3)
  t.equal((await open({ include: ['ffn'] })).entries, 2)
  t.equal((await open({ include: ['ffn', 'attn'] })).entries, 3)
  t.equal((await open({ exclude: ['blk.0', 'none'] })).entries, 1)
  t.equal((await open({ exclude: ['blk'] })).entries, 0)
  const some = await open({ include: ['attn'] })
  t.ok(some.has('blk.0.attn_q'))
  t.notOk(some.has('blk.0.ffn_up'))
  t.equal(some.sizeOf('blk.0.ffn_up'), 0)
  t.end()
})

void test('the older form may end behind its entries, and takes the last of two of one name', async (t) => {
  const bytes = dat(2, [
    ['a', 0, [1, 2]],
    ['a', 2, [4, 5, 6]],
  ])
  const importance = await openImportance(memorySource(bytes))
  t.equal(importance.entries, 1)
  t.equal(importance.dataset, undefined)
  t.equal(importance.chunks, undefined)
  t.strictSame([...(await importance.read('a'))], [2, 2.5, 3])
  const asTheyAre = await openImportance(memorySource(dat(1, [['b\0c', 0, [1, 2]]], i32(-1))))
  t.strictSame([...(await asTheyAre.read('b'))], [1, 2])
  t.equal(asTheyAre.chunks, undefined)
  t.end()
})

void test('an entry must have as many values as its tensor has columns, in each matrix', async (t) => {
  const bytes = ggufMatrix(entry('a', [1, 2, 3, 4], [1, 1]), entry('token_embd.weight', [1, 2, 3, 4], [1]))
  const importance = await openImportance(memorySource(bytes))
  const tensor = (name: string, shape: number[]) => ({ name, dtype: 'F32' as const, shape, size: 0 })
  t.ok(usesImportance(importance, tensor('a', [2, 5, 2])))
  t.ok(usesImportance(importance, tensor('a', [9, 4])))
  t.ok(usesImportance(importance, tensor('b', [9, 4]), 'a'))
  t.notOk(usesImportance(importance, tensor('b', [9, 4])))
  t.notOk(usesImportance(importance, tensor('token_embd.weight', [9, 5])))
  t.throws(() => usesImportance(importance, tensor('a', [9, 5])), {
    code: 'APR_BAD_INDEX',
    tensor: 'a',
    message: /expected importances of 5 columns of 1 matrices, 5 values, found 4/,
  })
  t.end()
})

async function refused(t: Test, what: string, bytes: Buffer, code: string, message: RegExp): Promise<void> {
  const source = memorySource(bytes)
  await t.rejects(openImportance(source), { code, message, file: 'memory.apr' }, what)
  t.ok(source.isClosed, 'and closed')
}

void test('a file that is no importance matrix is refused, and closed', async (t) => {
  const good = ggufMatrix(entry('a', [1, 2], [1]))
  const without = (key: string): Buffer =>
    buildGguf({ kvs: KVS.filter((pair) => pair.key !== key), tensors: entry('a', [1, 2], [1]) })
  await refused(t, 'empty', Buffer.alloc(0), 'APR_TRUNCATED', /expected an importance matrix/)
  await refused(t, 'others', Buffer.from('{"a": 1}'), 'APR_BAD_MAGIC', /starts with "GGUF" or its number of entries/)
  await refused(t, 'no entries', i32(0), 'APR_BAD_MAGIC', /1 to 1000000, found 0/)
  await refused(t, 'no matrices', buildGguf({ kvs: KVS }), 'APR_BAD_INDEX', /found none/)
  for (const { key } of KVS.slice(1)) {
    await refused(t, `without ${key}`, without(key), 'APR_BAD_METADATA', new RegExp(`expected ${key}`))
  }
  const [sums = {}, counts = {}] = entry('a', [1, 2, 3, 4], [1, 2])
  const of = (...tensors: GgufTensorFields[]): Buffer => buildGguf({ kvs: KVS, tensors })
  await refused(t, 'sums alone', of(sums), 'APR_BAD_INDEX', /found no .counts/)
  await refused(t, 'counts alone', of(counts), 'APR_BAD_INDEX', /found no .in_sum2/)
  await refused(
    t,
    'F16',
    of({ ...sums, dtype: 'F16', dims: [4] }, counts),
    'APR_UNSUPPORTED',
    /expected F32, found F16/,
  )
  await refused(t, 'no multiple', of(sums, ...entry('a', [1, 2, 3], [1, 2, 3]).slice(1)), 'APR_BAD_INDEX', /3 counts/)
  await refused(t, 'no counts', of(sums, { ...counts, dims: [0], data: Buffer.alloc(0) }), 'APR_BAD_INDEX', /0 counts/)
  for (const count of [-1, NaN, Infinity]) {
    await refused(t, `count ${count}`, ggufMatrix(entry('a', [1], [count])), 'APR_BAD_VALUE', /expected counts of 0/)
  }
  // Not in what the last tensor is padded with, which may be left out.
  for (let length = 4; length < good.length - 28; length += 7) {
    await refused(t, `cut at ${length}`, good.subarray(0, length), 'APR_TRUNCATED', /./)
  }
  t.end()
})

void test('the older form cut anywhere, or with numbers that cannot be, is refused', async (t) => {
  const whole = dat(
    2,
    [
      ['abc', 1, [1]],
      ['d', 1, [2]],
    ],
    i32(3),
    text('data.txt'),
  )
  const [behindEntries, behindChunks] = [whole.length - 16, whole.length - 12]
  for (let length = 0; length < whole.length; length++) {
    if (length === behindEntries || length === behindChunks) continue
    await refused(t, `cut at ${length}`, whole.subarray(0, length), 'APR_TRUNCATED', /found the end of the file/)
  }
  await refused(t, 'name', Buffer.concat([i32(1, -1), whole]), 'APR_BAD_HEADER', /bytes of a name, found -1/)
  await refused(t, 'long name', Buffer.concat([i32(1, 2 ** 31 - 1), whole]), 'APR_LIMIT', /bytes of a name/)
  await refused(t, 'calls', dat(1, [['a', -2, [1]]]), 'APR_BAD_HEADER', /calls of an entry, found -2/)
  await refused(t, 'no values', dat(1, [['a', 2, []]]), 'APR_BAD_HEADER', /values of an entry, found 0/)
  const huge = Buffer.concat([i32(1), text('a'), i32(1, 2 ** 31 - 1), Buffer.alloc(64)])
  await refused(t, 'values', huge, 'APR_TRUNCATED', /2147483647 values/)
  const bytes = Buffer.concat([i32(1, 1), Buffer.from([0xff]), i32(1, 1), f32(1)])
  await refused(t, 'other bytes', bytes, 'APR_BAD_INDEX', /UTF-8/)
  t.end()
})

void test('values that are no importances are refused when they are read, with their place', async (t) => {
  for (const value of [Infinity, NaN, -1]) {
    const importance = await openImportance(memorySource(ggufMatrix(entry('a', [1, 1, value, 1], [2, 2]))))
    const wanted = { code: 'APR_BAD_VALUE', tensor: 'a', element: 2, file: 'memory.apr' }
    await t.rejects(importance.read('a'), wanted)
    await t.rejects(importance.check(), wanted)
  }
  const infinite = await openImportance(await openFile(join(ROOT, 'mixtral-eight', 'imatrix-infinite.gguf')))
  await t.rejects(infinite.check(), { code: 'APR_BAD_VALUE', value: Infinity })
  await infinite.close()
  t.end()
})

void test('of a large matrix no more is read than its index', async (t) => {
  const many = 1024
  const head = Buffer.concat([i32(1), text('a'), i32(1, many * 1024)])
  const source = memorySource(head, head.length + many * 4096)
  let read = 0
  const counting: ByteSource = {
    ...source,
    read(target, position) {
      read += target.length
      return source.read(target, position)
    },
  }
  const importance = await openImportance(counting)
  t.ok(read < 100, `${read} bytes`)
  await importance.check()
  t.equal((await importance.read('a')).length, many * 1024)
  t.end()
})
