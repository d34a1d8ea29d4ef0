/** What is no GGUF file, or none that can be trusted, is refused: each with its own message, before anything is written. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { AprError, ggufReader, ggufWriter, inspect, kv, verify, type AprErrorCode } from 'apr-stream'
import { filesIn } from '../../helpers/files.js'
import { buildGguf, ggufString, rawKv, u32, u64, type GgufFields } from '../../helpers/gguf-file.js'
import { memorySource } from '../../helpers/memory-source.js'

const HOSTILE = 'test/fixtures/hf/hostile'

/** What is wrong with the files that others made; undefined: they are good GGUF, whatever llama.cpp misses in them. */
const OF_OTHERS: Readonly<Record<string, readonly [AprErrorCode, RegExp] | undefined>> = {
  '01-magic': ['APR_BAD_MAGIC', /47 47 55 46/],
  '02-version-1': ['APR_UNSUPPORTED', /version 1/],
  '03-other-endian': ['APR_UNSUPPORTED', /big-endian/],
  '04-zero-header': ['APR_BAD_MAGIC', /47 47 55 46/],
  '06-duplicate-key': ['APR_BAD_METADATA', /every key once, found "general.architecture" twice \(byte/],
  '09-dtype-43': ['APR_UNSUPPORTED', /dtype.*found 43 \(tensor "a"/],
  '10-gap': ['APR_BAD_INDEX', /data at 32, .*found 64 \(tensor "b"/],
  '12-wrapping-dims': ['APR_LIMIT', /2\^53 elements, found \[4294967296, 4294967296\]/],
  '13-q4k-row-255': ['APR_BAD_INDEX', /whole blocks of 256 elements of Q4_K, found rows of 255/],
  '17-name-64-bytes': ['APR_LIMIT', /at most 63 bytes, found 64/],
  '18-model-cut': ['APR_TRUNCATED', /tensor data up to byte/],
  '19-model-tensor-missing': undefined,
  '20-model-tensor-extra': undefined,
  '21-model-alignment-4096': undefined,
}

const MATRIX = { name: 'w', dims: [256, 2] }
const key = (type: number, data: Uint8Array): GgufFields => ({ kvs: [rawKv('key', type, data)] })
const array = (element: number, count: number | bigint, data = Buffer.alloc(0)): GgufFields =>
  key(9, Buffer.concat([u32(element), u64(count), data]))
const many = (count: number): GgufFields => ({ tensors: Array.from({ length: count }, () => ({ name: 'same' })) })
const NOT_UTF8 = Buffer.of(0x61, 0xff, 0x62)

const REFUSED: Readonly<Record<string, readonly [GgufFields, AprErrorCode, RegExp]>> = {
  'version 0': [{ version: 0 }, 'APR_UNSUPPORTED', /version 0 \(byte 4/],
  'version 4': [{ version: 4 }, 'APR_UNSUPPORTED', /version 4/],
  'a negative number of tensors': [{ tensorCount: -1 }, 'APR_BAD_HEADER', /0 to 1000000 tensors, found -1 \(byte 8/],
  'a negative number of keys': [{ kvCount: -5 }, 'APR_BAD_HEADER', /key-value pairs, found -5 \(byte 16/],
  'more tensors than any model has': [{ tensorCount: 2n ** 62n }, 'APR_LIMIT', /found 4611686018427387904/],
  'more keys than any model has': [{ kvCount: 1_000_001 }, 'APR_LIMIT', /found 1000001/],
  'more tensors than the file has room for': [{ tensorCount: 1000 }, 'APR_TRUNCATED', /24024 bytes at least/],
  'an empty key': [{ kvs: [rawKv('', 4, u32(1))] }, 'APR_BAD_METADATA', /expected a key, found an empty one/],
  'a key that is not UTF-8': [{ kvs: [rawKv(NOT_UTF8, 4, u32(1))] }, 'APR_BAD_METADATA', /key in UTF-8/],
  'a value of type 13': [key(13, u64(0)), 'APR_BAD_METADATA', /type of 0 to 12 for "key", found 13/],
  'an array of arrays': [array(9, 0), 'APR_BAD_METADATA', /found an array of arrays/],
  'an array of type 13': [array(13, 0), 'APR_BAD_METADATA', /numbers or strings for "key", found type 13/],
  'an array of more than 2^30': [array(0, 2 ** 30 + 1), 'APR_BAD_METADATA', /at most 1073741824 elements/],
  'an array beyond the end': [array(10, 2 ** 20), 'APR_TRUNCATED', /array of 8388608 bytes/],
  'an array of strings beyond the end': [array(8, 2 ** 20), 'APR_TRUNCATED', /array of 8388608 bytes/],
  'a string beyond the end': [key(8, u64(1000)), 'APR_TRUNCATED', /string of 1000 bytes/],
  'a string of more than 1 GiB': [key(8, u64(2n ** 63n)), 'APR_BAD_METADATA', /at most 1073741824, |1073741824 bytes/],
  'an alignment that is no u32': [{ kvs: [kv('general.alignment', 'u64', 32)] }, 'APR_BAD_METADATA', /found a u64/],
  'an alignment of 0': [{ kvs: [kv('general.alignment', 'u32', 0)] }, 'APR_BAD_METADATA', /power of two, found 0/],
  'an alignment of 48': [{ kvs: [kv('general.alignment', 'u32', 48)] }, 'APR_BAD_METADATA', /power of two, found 48/],
  'an alignment of 2 GiB': [{ kvs: [kv('general.alignment', 'u32', 2 ** 31)] }, 'APR_LIMIT', /at most 1048576 bytes/],
  'a name that is not UTF-8': [{ tensors: [{ name: NOT_UTF8 }] }, 'APR_BAD_INDEX', /tensor name in UTF-8/],
  'a name twice': [many(2), 'APR_BAD_INDEX', /found one twice \(tensor "same"/],
  '5 dimensions': [{ tensors: [{ dims: [1, 1, 1, 1, 1] }] }, 'APR_BAD_INDEX', /at most 4 dimensions, found 5/],
  'a negative dimension': [
    { tensors: [{ dims: [-1], data: Buffer.alloc(32) }] },
    'APR_BAD_INDEX',
    /found -1 \(tensor "t0"/,
  ],
  'a dimension of 2^60': [{ tensors: [{ dims: [2n ** 60n, 0] }] }, 'APR_BAD_INDEX', /less than 2\^53/],
  'a removed dtype': [{ tensors: [{ dtype: 4 }] }, 'APR_UNSUPPORTED', /that were removed, found 4/],
  'rows of half a block': [{ tensors: [{ dims: [128, 2], dtype: 12 }] }, 'APR_BAD_INDEX', /found rows of 128/],
  'a quantized scalar': [{ tensors: [{ dims: [], dtype: 8 }] }, 'APR_BAD_INDEX', /found rows of 1 /],
  'a first offset': [{ tensors: [{ offset: 32 }] }, 'APR_BAD_INDEX', /data at 0, .*found 32/],
  'an overlap': [{ tensors: [MATRIX, { offset: 0 }] }, 'APR_BAD_INDEX', /data at 2048, .*found 0/],
  'an unaligned offset': [{ tensors: [{}, { offset: 33 }] }, 'APR_BAD_INDEX', /found 33/],
  'the other order': [{ tensors: [{ offset: 32 }, { offset: 0 }] }, 'APR_BAD_INDEX', /found 32 \(tensor "t0"/],
  'bytes behind the data': [{ tensors: [MATRIX], tail: Buffer.alloc(32) }, 'APR_BAD_INDEX', /32 bytes more/],
  'bytes behind the head': [{ tail: Buffer.of(0) }, 'APR_BAD_INDEX', /1 bytes more/],
}

const IN_THE_DATA: typeof REFUSED = {
  'padding behind the head': [
    { kvs: [kv('k', 'string', 'x')], tensors: [MATRIX], headPadding: Buffer.alloc(9, 1) },
    'APR_BAD_PADDING',
    /found the byte 1 \(byte 87/,
  ],
  'padding between tensors': [
    { tensors: [{ dims: [1], padding: Buffer.alloc(28, 3) }, MATRIX] },
    'APR_BAD_PADDING',
    /found the byte 3/,
  ],
  'padding at the end': [{ tensors: [{ dims: [1], padding: Buffer.alloc(28, 9) }] }, 'APR_BAD_PADDING', /the byte 9/],
  'a scale that is no number': [
    { tensors: [{ name: 'q', dims: [256, 2], dtype: 'Q4_K', data: Buffer.alloc(288, 0xff) }] },
    'APR_BAD_VALUE',
    /finite scales.*tensor "q"/,
  ],
}

void test('the files that others broke are refused, each for what is wrong with it', async (t) => {
  const listed = JSON.parse(readFileSync(`${HOSTILE}/hostile.json`, 'utf8')) as { file: string }[]
  const names = listed.flatMap(({ file }) => (file.startsWith('gguf/') ? [file.slice(5, -5)] : []))
  t.strictSame(names, Object.keys(OF_OTHERS))
  t.strictSame(
    readdirSync(`${HOSTILE}/gguf`).sort(),
    names.map((name) => `${name}.gguf`),
  )
  for (const [name, expected] of Object.entries(OF_OTHERS)) {
    const path = `${HOSTILE}/gguf/${name}.gguf`
    const error = await failureOf(inspect(path))
    if (expected) t.match(error, { name: 'AprError', code: expected[0], message: expected[1], file: path }, name)
    else t.equal(error, undefined, name)
    t.strictSame((await verify(path)).ok, expected === undefined, name)
  }
})

for (const [what, [fields, code, message]] of Object.entries(REFUSED)) {
  void test(`${what} is refused before the first record`, async (t) => {
    const file = buildGguf(fields)
    t.match(await failureOf(inspect(memorySource(file))), { name: 'AprError', code, message }, 'inspect')
    t.match(await failureOf(readAll(file)), { name: 'AprError', code, message }, 'ggufReader')
  })
}

for (const [what, [fields, code, message]] of Object.entries(IN_THE_DATA)) {
  void test(`${what} is found by reading, and no output is left`, async (t) => {
    const file = buildGguf(fields)
    t.equal(await failureOf(inspect(memorySource(file))), undefined)
    t.match(await verify(memorySource(file)), { ok: false, error: { code, message } })
    const folder = t.testdir({})
    const writer = ggufWriter(join(folder, 'out.gguf'))
    const closed = new Promise<void>((done) => writer.once('close', done))
    t.match(await failureOf(pipeline(ggufReader(memorySource(file)), writer)), { name: 'AprError', code, message })
    await closed
    t.strictSame(filesIn(folder), [])
  })
}

void test('what llama.cpp accepts is accepted: odd keys, empty arrays and names, version 2, no tensors, alignment 1', async (t) => {
  const good: Record<string, GgufFields> = {
    'version 2': { version: 2, tensors: [MATRIX] },
    'no keys and no tensors': {},
    'no tensors and no padding': { kvs: [kv('a', 'u8', 1)], headPadding: Buffer.alloc(0) },
    'a key of 70,000 bytes': { kvs: [kv('k'.repeat(70_000), 'u8', 1)] },
    'a key with spaces': { kvs: [kv(' A key ', 'bool', true)] },
    'a bool of 2': key(7, Buffer.of(2)),
    'empty arrays': array(0, 0),
    'a text that is not UTF-8': key(8, ggufString(NOT_UTF8)),
    'an empty name': { tensors: [{ name: '' }] },
    'no elements, no dimensions': { tensors: [{ dims: [0, 5] }, { dims: [] }, { dims: [256, 0], dtype: 'Q4_K' }] },
    'alignment 1': {
      alignment: 1,
      kvs: [kv('general.alignment', 'u32', 1)],
      tensors: [{ dims: [3], dtype: 'I8' }, {}],
    },
    'a name of 63 bytes': { tensors: [{ name: 'é'.repeat(31) + 'n' }] },
    'one part': { kvs: [kv('split.count', 'u16', 1)], tensors: [MATRIX] },
  }
  for (const [what, fields] of Object.entries(good)) {
    t.match(await verify(memorySource(buildGguf(fields))), { ok: true, error: undefined }, what)
  }
})

void test('a file cut short at any byte is refused, but where only padding is lost', async (t) => {
  const kvs = [
    kv('general.architecture', 'string', 'x'),
    rawKv('list', 9, Buffer.concat([u32(8), u64(2), ggufString('ab'), ggufString('')])),
  ]
  const file = buildGguf({ kvs, tensors: [MATRIX, { name: 'last', dims: [5] }] })
  for (let length = 4; length < file.length; length++) {
    const source = memorySource(file.subarray(0, length))
    const { ok, error } = await verify(source)
    const isWhole = length >= file.length - 12
    if (ok !== isWhole) t.fail(`cut to ${length} bytes: ${String(error)}`)
    if (!ok && error?.code !== 'APR_TRUNCATED') t.fail(`cut to ${length} bytes: ${String(error)}`)
    if (!source.isClosed) t.fail(`cut to ${length} bytes: the source stays open`)
  }
  t.pass()
})

void test('a claim of a large header costs no memory', async (t) => {
  const before = process.memoryUsage.rss()
  const claims: Record<string, GgufFields> = {
    'a string of 1 GiB': key(8, u64(2 ** 30)),
    'an array of 8 GiB': array(10, 2 ** 30),
    'an array of 2^30 strings': array(8, 2 ** 30),
    'an array of 255 MiB and more behind it': array(0, 255 * 2 ** 20),
  }
  for (const [what, fields] of Object.entries(claims)) {
    const source = memorySource(buildGguf(fields), 64 * 2 ** 30)
    const read = source.read.bind(source)
    let bytes = 0
    const counted = {
      ...source,
      read: (target: Uint8Array, position: number): Promise<void> => {
        bytes += target.length
        return what.startsWith('an array of 255') ? Promise.reject(new Error('read')) : read(target, position)
      },
    }
    const error = await failureOf(inspect(counted))
    if (what.startsWith('an array of 255')) t.match(error, { message: 'read' }, what)
    else t.match(error, { code: 'APR_LIMIT', message: /268435456 bytes before the data/ }, what)
    t.ok(bytes < 1024 * 1024, `${what}: ${bytes} bytes read`)
  }
  t.ok(process.memoryUsage.rss() - before < 400 * 1024 * 1024)
})

function readAll(file: Buffer): Promise<void> {
  const sink = new Writable({ objectMode: true, write: (_record, _encoding, done) => done() })
  return pipeline(ggufReader(memorySource(file)), sink)
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
    return undefined
  } catch (error) {
    return error instanceof AprError || error instanceof Error ? error : new Error(String(error))
  }
}
