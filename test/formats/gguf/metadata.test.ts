/** Editing the typed pairs of a GGUF model as plain values. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import {
  arrayKv,
  ggufReader,
  ggufWriter,
  inspect,
  kv,
  kvValue,
  mapMetadata,
  q4k,
  type Inspection,
  type KvScalar,
  type ScalarType,
} from 'apr-stream'
import { FORMATS, formatOf } from '../../../dist/formats/formats.js'
import { openInput } from '../../../dist/streams/open-input.js'
import { sameBytes } from '../../helpers/files.js'
import { buildGguf, ggufString, rawKv, u32, u64 } from '../../helpers/gguf-file.js'
import { memorySource } from '../../helpers/memory-source.js'

const GOLDEN = 'test/fixtures/hf/small/gguf/tiny-llama-f32'
const TENSORS = [{ name: 'w', dims: [4] }]
const KVS = [
  kv('text', 'string', 'as it was'),
  kv('count', 'u16', 7),
  kv('share', 'f32', 0.5),
  kv('flag', 'bool', false),
  kv('large', 'u64', 2n ** 63n),
  arrayKv('list', 'i8', [1, -2, 3]),
  arrayKv('words', 'string', ['a', 'é', '']),
]
const FILE = buildGguf({ kvs: KVS, tensors: TENSORS })

type Change = Parameters<typeof mapMetadata>[0]

async function edit(folder: string, file: Buffer, change: Change): Promise<{ file: Buffer; inspection: Inspection }> {
  const output = join(folder, 'out.gguf')
  await pipeline(ggufReader(memorySource(file)), mapMetadata(change), ggufWriter(output, { overwrite: true }))
  return { file: readFileSync(output), inspection: await inspect(output) }
}

void test('values are changed in their place and type, removed, and put behind the others', async (t) => {
  const { file } = await edit(t.testdir({}), FILE, (metadata) => {
    t.strictSame(metadata, {
      ...{ text: 'as it was', count: 7, share: 0.5, flag: false, large: 2n ** 63n },
      ...{ list: [1, -2, 3], words: ['a', 'é', ''] },
    })
    return { count: 8, share: 3, list: [5], large: 12, flag: undefined, 'new key': 'x', missing: undefined }
  })
  const expected = [
    kv('text', 'string', 'as it was'),
    kv('count', 'u16', 8),
    kv('share', 'f32', 3),
    kv('large', 'u64', 12),
    arrayKv('list', 'i8', [5]),
    arrayKv('words', 'string', ['a', 'é', '']),
    kv('new key', 'string', 'x'),
  ]
  sameBytes(t, file, buildGguf({ kvs: expected, tensors: TENSORS }), 'edited')
})

void test('a new key gets the type that its value has', async (t) => {
  const values = {
    ...{ 'is.text': 'x', 'is.bool': true, 'is.u32': 4_294_967_295, 'is.i32': -1, 'is.u64': 4_294_967_296 },
    ...{ 'is.i64': -4_294_967_296, 'is.big': 2n ** 64n - 1n, 'is.f32': 0.25, 'is.f64': 1e300 },
    ...{ 'are.u32': [0, 1], 'are.i32': [0, -1], 'are.f32': [1, 0.5], 'are.texts': ['a', 'b'], 'are.none': [] },
  }
  const { inspection } = await edit(t.testdir({}), FILE, () => values)
  const { metadataTypes = {}, metadata } = inspection
  const types = Object.keys(values).map((key) => metadataTypes[key])
  t.strictSame(types, [
    ...['string', 'bool', 'u32', 'i32', 'u64', 'i64', 'u64', 'f32', 'f64'],
    ...['u32[]', 'i32[]', 'f32[]', 'string[]', 'string[]'],
  ])
  t.strictSame(metadata['are.i32'], [0, -1])
  t.strictSame(metadata['is.big'], 2n ** 64n - 1n)
})

void test('a value that does not fit its type is refused by name', async (t) => {
  const folder = t.testdir({})
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ count: 65_536 }, /type u16 for "count", found 65536/],
    [{ count: -1 }, /type u16 for "count", found -1/],
    [{ count: 1.5 }, /type u16 for "count", found 1.5/],
    [{ count: 'x' }, /type u16 for "count", found the text "x"/],
    [{ share: 1e39 }, /type f32 for "share", found 1e\+39/],
    [{ flag: 1 }, /type bool for "flag", found 1/],
    [{ text: 5 }, /type string for "text", found 5/],
    [{ text: '\ud800' }, /type string for "text"/],
    [{ list: 5 }, /expected an array for "list", found 5/],
    [{ list: [1, 128] }, /type i8 for "list", found 128/],
    [{ large: -1n }, /type u64 for "large", found -1n/],
    [{ other: { a: 1 } }, /text, true, false, a number.* for "other", found an object/],
    [{ other: [1, 'a'] }, /for "other"/],
    [{ other: [[1]] }, /for "other", found an array/],
    [{ other: null }, /for "other", found null/],
    [{ '': 1 }, /expected a key/],
    [{ 'general.alignment': 48 }, /power of two, found 48/],
  ]
  for (const [changes, message] of cases) {
    await t.rejects(
      edit(folder, FILE, () => changes),
      { name: 'AprError', code: 'APR_BAD_METADATA', message },
    )
  }
  await t.rejects(
    edit(folder, FILE, () => ({ 'general.alignment': 2 ** 31 })),
    { code: 'APR_LIMIT' },
  )
})

void test('what is given back unchanged keeps its bytes: texts that are not UTF-8, any NaN, a bool of 2', async (t) => {
  const notUtf8 = ggufString(Buffer.of(0xff, 0x61))
  const kvs = [
    rawKv('bytes', 8, notUtf8),
    rawKv('nan', 6, Buffer.of(1, 0, 0xa0, 0xff)),
    rawKv('two', 7, Buffer.of(2)),
    rawKv('list', 9, Buffer.concat([u32(8), u64(2), notUtf8, notUtf8])),
  ]
  const file = buildGguf({ kvs, tensors: TENSORS })
  const edited = await edit(t.testdir({}), file, (metadata) => ({ ...metadata }))
  sameBytes(t, edited.file, file, 'all of it given back')
})

void test('the keys that say which part a file is are no metadata of a model', async (t) => {
  const edited = await edit(t.testdir({}), FILE, () => ({ 'split.count': 3 }))
  sameBytes(t, edited.file, FILE, 'written as one file')
})

void test('another alignment moves the data', async (t) => {
  const folder = t.testdir({})
  const { file } = await edit(folder, FILE, () => ({ 'general.alignment': 1024 }))
  const kvs = [...KVS, kv('general.alignment', 'u32', 1024)]
  sameBytes(t, file, buildGguf({ kvs, tensors: TENSORS, alignment: 1024 }), 'aligned to 1024')
})

void test('quantization is noted as llama-quantize notes it: behind all else, its version and the file type', async (t) => {
  const opened = await openInput(`${GOLDEN}.convert.gguf`, FORMATS.gguf)
  await opened.input.close()
  const { model } = opened
  const metadata = formatOf(model).metadata(formatOf(model).withQuantized(model, model.tensors, true))
  const golden = await inspect(`${GOLDEN}.Q4_K_M.gguf`)
  t.strictSame(Object.keys(metadata), Object.keys(golden.metadata))
  // Not Q4_K_M, 15, which also has larger types.
  t.strictSame(metadata, { ...golden.metadata, 'general.file_type': 14 })

  const matrix = { name: 'w.weight', dims: [256, 2], data: Buffer.alloc(2048, 0x3f) }
  const output = join(t.testdir({}), 'out.gguf')
  const file = buildGguf({ kvs: [kv('general.file_type', 'u32', 0), ...KVS], tensors: [matrix] })
  await pipeline(ggufReader(memorySource(file)), q4k(), ggufWriter(output))
  const made = await inspect(output)
  t.equal(made.tensors[0]?.dtype, 'Q4_K')
  t.strictSame(Object.entries(made.metadata).slice(-2), [
    ['general.quantization_version', 2],
    ['general.file_type', 14],
  ])
})

void test('a pair can be made of every type, and gives its value back', (t) => {
  const values: Record<ScalarType, KvScalar[]> = {
    ...{ u8: [0, 255], i8: [-128, 127], u16: [0, 65_535], i16: [-32_768, 32_767] },
    ...{ u32: [0, 4_294_967_295], i32: [-2_147_483_648, 2_147_483_647] },
    ...{ u64: [0n, 2n ** 64n - 1n], i64: [-(2n ** 63n), 2n ** 63n - 1n] },
    ...{ f32: [0.5, -Infinity, NaN], f64: [0.1, 1e300], bool: [true, false], string: ['', 'é\u{1f600}'] },
  }
  for (const [type, all] of Object.entries(values) as [ScalarType, KvScalar[]][]) {
    for (const value of all) t.strictSame(kvValue(kv('k', type, value)), value, type)
    t.strictSame(kvValue(arrayKv('k', type, all)), all, `${type}[]`)
  }
  t.throws(() => kv('k', 'u8', 256), { code: 'APR_BAD_METADATA' })
  t.throws(() => arrayKv('k', 'i32', [1, 2 ** 31]), {
    code: 'APR_BAD_METADATA',
    message: /type i32 for "k", found 2147483648/,
  })
  t.throws(() => kv('', 'u8', 1), { code: 'APR_BAD_METADATA' })
  t.end()
})
