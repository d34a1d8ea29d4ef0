import { readFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { isDeepStrictEqual } from 'node:util'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { test } from 'tap'
import { aprReader, aprWriter, inspect } from 'apr-stream'
import { appendZerosCrc32, combineCrc32 } from '../../../dist/checksum/combine.js'
import { crc32 as foldingCrc32 } from '../../../dist/checksum/crc32.js'
import { decodeDType, encodeDType } from '../../../dist/formats/apr/dtypes.js'
import { decodeHeader, encodeHeader, flagNames, type AprHeader } from '../../../dist/formats/apr/header.js'
import { encodeHead, layoutModel } from '../../../dist/formats/apr/layout.js'
import { decodeMetadata, editMetadata, metadataValue } from '../../../dist/formats/apr/metadata.js'
import { decodeEntry, encodeEntry, entryBytes } from '../../../dist/formats/apr/tensor-index.js'
import { compareNames } from '../../../dist/model/names.js'
import type { DType } from '../../../dist/model/dtypes.js'
import { parameterCount, tensorBytes, type TensorInfo } from '../../../dist/model/tensor.js'
import { align, buildApr, DTYPE_IDS } from '../../helpers/apr-file.js'
import { changes, join, objectText, valueText, type ObjectText } from '../../helpers/json-text.js'

const DTYPES = Object.keys(DTYPE_IDS) as DType[]
const REFUSED_FLAGS = 0x0001 | 0x0002 | 0x0004 | 0x0800
const FIXTURES = ['every-dtype', 'golden_v2', 'golden_v2_skip_none', 'silero-vad.apr-quantize']

/** Any tensor that the format can hold. */
const anyTensor: fc.Arbitrary<TensorInfo> = fc
  .record({
    name: fc.string({ unit: 'grapheme', maxLength: 20 }),
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.array(fc.oneof(fc.nat(20), fc.constantFrom(255, 256, 257, 1000)), { maxLength: 8 }),
  })
  .filter(({ dtype, shape }) => Number.isSafeInteger(tensorBytes(dtype, shape) * 64))
  .map(({ name, dtype, shape }) => ({ name, dtype, shape, size: tensorBytes(dtype, shape) }))

const fixturePath = (name: string): string => new URL(`../../fixtures/apr/${name}`, import.meta.url).pathname

/** What the reference's reader says of a file. */
interface ReferenceView {
  readonly flags: number
  readonly metadata: Record<string, unknown>
  readonly tensors: readonly { name: string; dtype: string; shape: number[]; offset: number; size: number }[]
  readonly crc_ok: boolean
}

for (const name of FIXTURES) {
  void test(`${name}: every field is what the reference's reader says`, async (t) => {
    const expected = JSON.parse(readFileSync(fixturePath(`${name}.json`), 'utf8')) as ReferenceView
    const found = await inspect(fixturePath(`${name}.apr`))
    const dataOffset = Number(readFileSync(fixturePath(`${name}.apr`)).readBigUInt64LE(32))
    t.equal(found.flags, expected.flags)
    t.equal(found.hasFooter, expected.crc_ok)
    t.strictSame(
      found.tensors.map(({ name, dtype, shape, size, position }) => {
        return { name, dtype: dtype.replace('_', ''), shape, offset: position - dataOffset, size }
      }),
      expected.tensors.map(({ name, dtype, shape, offset, size }) => {
        return { name, dtype: dtype.replace(/^Apr/, 'APR'), shape, offset, size }
      }),
    )
    // The reference rounds some numbers to f32, and leaves out what is null.
    for (const [key, value] of Object.entries(expected.metadata)) {
      const ours = found.metadata[key]
      if (typeof value === 'number' && typeof ours === 'number') t.equal(Math.fround(ours), Math.fround(value), key)
      else t.strictSame(ours, value, key)
    }
    t.end()
  })

  void test(`${name}: a copy has the same bytes`, async (t) => {
    for (const recordBytes of [1, 1000, 1024 * 1024]) {
      const copy = `${t.testdir()}/copy-${recordBytes}.apr`
      await pipeline(aprReader(fixturePath(`${name}.apr`), { recordBytes }), aprWriter(copy))
      t.equal(
        Buffer.compare(readFileSync(copy), readFileSync(fixturePath(`${name}.apr`))),
        0,
        `records of ${recordBytes} bytes`,
      )
    }
  })
}

void test('metadata keeps the numbers that JSON.parse would change', async (t) => {
  const { metadataText } = await inspect(fixturePath('every-dtype.apr'))
  t.match(metadataText, /"rope_theta":1000000\.0[,}]/)
  t.match(metadataText, /"seed":9007199254740993[,}]/)
  t.match(metadataText, /"license":null[,}]/)
})

void test('a header survives the way to bytes and back, reserved bytes and unknown flags included', (t) => {
  const offset = fc.nat(2 ** 31 - 1).map((n) => n * 64)
  const header = fc.record({
    minorVersion: fc.nat(255),
    flags: fc.nat(0xffff).map((flags) => flags & ~REFUSED_FLAGS),
    tensorCount: fc.nat(2 ** 32 - 1),
    metadataOffset: fc.maxSafeNat(),
    metadataSize: fc.nat(2 ** 32 - 1),
    indexOffset: fc.maxSafeNat(),
    dataOffset: offset,
    reserved: fc.uint8Array({ minLength: 20, maxLength: 20 }),
  })
  fc.assert(
    fc.property(header, (expected: AprHeader) => {
      const bytes = encodeHeader(expected)
      const { reserved, ...found } = decodeHeader(bytes)
      if (!isDeepStrictEqual({ ...found, reserved }, { ...expected })) t.fail(JSON.stringify(expected))
      if (Buffer.compare(bytes, headerByHand(expected)) !== 0) t.fail(JSON.stringify(expected))
    }),
    { seed: 1, numRuns: 200 },
  )
  t.end()
})

void test('a header with any one bit changed is refused', (t) => {
  const good = buildApr().subarray(0, 64)
  for (let bit = 0; bit < 64 * 8; bit++) {
    const bad = Buffer.from(good)
    bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    t.throws(() => decodeHeader(bad), { name: 'AprError' }, `bit ${bit}`)
  }
  t.end()
})

void test('every flag has its name, and a bit without one is shown as a number', (t) => {
  t.strictSame(flagNames(0), [])
  t.strictSame(flagNames(0xffff), [
    'lz4',
    'zstd',
    'encrypted',
    'signed',
    'sharded',
    'quantized',
    'filterbank',
    'modelCard',
    'streaming',
    'vocabulary',
    'rowMajor',
    'columnMajor',
    '0x1000',
    '0x2000',
    '0x4000',
    '0x8000',
  ])
  t.end()
})

void test('dtypes have the ids of the format; ids of older files are read and never written', (t) => {
  for (const [dtype, id] of Object.entries(DTYPE_IDS)) {
    t.equal(encodeDType(dtype as DType), id)
    t.equal(decodeDType(id), dtype)
  }
  t.equal(decodeDType(2), 'BF16')
  t.equal(decodeDType(8), 'APR_Q4')
  t.equal(decodeDType(9), 'APR_Q8')
  const known = [...Object.values(DTYPE_IDS), 2, 8, 9] as number[]
  for (let id = 0; id < 256; id++) {
    if (!known.includes(id)) t.throws(() => decodeDType(id), { code: 'APR_UNSUPPORTED' }, `id ${id}`)
  }
  t.end()
})

void test('a dtype and a shape take the bytes that the format says', (t) => {
  const sizes: [DType, number[], number][] = [
    ['F32', [], 4],
    ['F32', [0, 5], 0],
    ['F16', [3, 5], 30],
    ['BF16', [7], 14],
    ['F64', [2, 2, 2], 64],
    ['I32', [3], 12],
    ['I64', [3], 24],
    ['I8', [3], 3],
    ['U8', [3], 3],
    ['Q4_K', [256], 144],
    ['Q4_K', [257], 288],
    ['Q4_K', [2, 300], 2 * 2 * 144],
    ['Q4_K', [1, 2, 300], 3 * 144],
    ['Q6_K', [2, 256], 2 * 210],
    ['Q6_K', [2, 257], 4 * 210],
    ['APR_Q4', [33], 36],
    ['APR_Q4', [2, 16], 18],
    ['APR_Q8', [33], 37],
    ['APR_Q8', [0], 4],
  ]
  for (const [dtype, shape, size] of sizes) t.equal(tensorBytes(dtype, shape), size, `${dtype} [${shape.join(', ')}]`)
  t.end()
})

void test('an index entry survives the way to bytes and back, and is asked for again when cut anywhere', (t) => {
  fc.assert(
    fc.property(anyTensor, fc.nat(2 ** 40), (tensor, units) => {
      const entry = { ...tensor, dataOffset: units * 64 }
      const target = Buffer.alloc(entryBytes(entry) + 10, 0xee)
      const end = encodeEntry(entry, new DataView(target.buffer, target.byteOffset, target.byteLength), 5)
      if (end !== target.length - 5) t.fail(`the entry of ${JSON.stringify(tensor)} ends at byte ${end}`)
      if (!target.subarray(0, 5).equals(Buffer.alloc(5, 0xee))) t.fail('bytes before the entry were changed')
      if (!target.subarray(end).equals(Buffer.alloc(5, 0xee))) t.fail('bytes behind the entry were changed')
      const bytes = target.subarray(5, end)
      if (!bytes.equals(entryByHand(entry))) t.fail(`the bytes of ${JSON.stringify(tensor)}`)
      const view = (length: number): DataView => new DataView(target.buffer, target.byteOffset, length)
      t.strictSame(decodeEntry(view(target.length), 5), { entry, end })
      for (let length = 5; length < end; length++) {
        if (decodeEntry(view(length), 5)) t.fail(`an entry cut to ${length - 5} bytes was read`)
      }
    }),
    { seed: 2, numRuns: 200 },
  )
  t.end()
})

/** What readers of JSON with comments, JavaScript and other whitespace would take. */
const REFUSED_METADATA = [
  '{"a":1/**/}',
  '{}//',
  '//\n{}',
  "{'a':1}",
  '{a:1}',
  '{"a":1,}',
  '{"a":01}',
  '{"a":1.}',
  '{"a":.5}',
  '{"a":+1}',
  '{"a":0x1}',
  '{"a":NaN}',
  '{"a":[1,]}',
  '{"a":"\t"}',
  '{"a":"\\x41"}',
  '\ufeff{}',
  '{}\u00a0',
  '{\v}',
  '{}{}',
  '[]',
  'null',
  '',
]

void test('metadata is accepted where JSON.parse accepts an object, and nowhere else', (t) => {
  const character = fc.constantFrom(
    ...Array.from('{}[]",:\\/0123456789.eE+-tfnul \t\n\r\f\v\0\u007f\u00a0\u2028\ufeff*a'),
  )
  const broken = fc
    .tuple(
      fc.oneof(objectText.map(join), valueText),
      fc.array(fc.tuple(fc.nat(), fc.nat(2), character), { maxLength: 3 }),
    )
    .map(([text, edits]) =>
      edits.reduce((edited, [place, cut, put]) => {
        const at = place % (edited.length + 1)
        return edited.slice(0, at) + put + edited.slice(at + cut)
      }, text),
    )
  let accepted = 0
  fc.assert(
    fc.property(fc.oneof(broken, fc.json()), (text) => {
      const wellFormed = Buffer.from(text).toString()
      const expected = isJsonObject(wellFormed)
      if (expected) accepted++
      try {
        const found = decodeMetadata(Buffer.from(wellFormed))
        if (!expected) t.fail(`${wellFormed} was accepted`)
        if (found !== wellFormed) t.fail(`${wellFormed} became ${found}`)
      } catch (error) {
        if ((error as { code?: string }).code !== 'APR_BAD_METADATA') throw error
        if (expected) t.fail(`${wellFormed} was refused`)
      }
    }),
    { seed: 6, numRuns: 10_000, examples: REFUSED_METADATA.map((text): [string] => [text]) },
  )
  t.ok(accepted > 1000 && accepted < 9000, `${accepted} of 10,000 were accepted`)
  t.end()
})

void test('a metadata value is the one that JSON.parse finds, the last of a repeated key', (t) => {
  fc.assert(
    fc.property(objectText, (object) => {
      const text = join(object)
      const parsed = JSON.parse(text) as Record<string, unknown>
      for (const key of [...Object.keys(parsed), 'not there', 'valueOf']) {
        const expected = Object.hasOwn(parsed, key) ? parsed[key] : undefined
        if (JSON.stringify(metadataValue(text, key)) !== JSON.stringify(expected)) t.fail(`${key} of ${text}`)
      }
    }),
    { seed: 7, numRuns: 2000 },
  )
  t.end()
})

void test('edited metadata has the new values, and every byte that stands for another is what it was', (t) => {
  fc.assert(
    fc.property(objectText, changes, (object, edits) => {
      const text = join(object)
      const edited = editMetadata(text, edits)
      const expected = new Map(Object.entries(JSON.parse(text) as object))
      for (const [key, value] of Object.entries(edits)) {
        if (value === undefined) expected.delete(key)
        else expected.set(key, JSON.parse(JSON.stringify(value)))
      }
      const found = new Map(Object.entries(JSON.parse(edited) as object))
      if (!isDeepStrictEqual(found, expected)) t.fail(`${text} became ${edited}`)
      const sets = Object.values(edits).every((value) => value !== undefined)
      const isRight = sets ? edited === editByHand(object, edits) : keepsTexts(object, edits, edited)
      if (!isRight) t.fail(`${text} became ${edited}`)
    }),
    { seed: 8, numRuns: 3000 },
  )
  t.end()
})

void test('metadata is edited in place', (t) => {
  const cases: [string, Record<string, unknown>, string][] = [
    ['{}', { a: 1 }, '{"a":1}'],
    [' {\n} ', { a: 1 }, ' {"a":1\n} '],
    ['{"b":1000000.0}', { a: null }, '{"b":1000000.0,"a":null}'],
    ['{"b":1e-06,\n "a" : [ 1 ] }', { a: 2 }, '{"b":1e-06,\n "a" : 2 }'],
    ['{"a":1,"a":9007199254740993}', { a: 2 }, '{"a":1,"a":2}'],
    ['{"\\u0061":1}', { a: 2 }, '{"\\u0061":2}'],
    ['{"x":{"a":1},"a":3}', { a: 2 }, '{"x":{"a":1},"a":2}'],
    ['{"x":"}","y":"{\\"a\\":1}"}', { a: 2 }, '{"x":"}","y":"{\\"a\\":1}","a":2}'],
    // Removing: the first, one in the middle, the last, the only one, a repeated one, one that is not there.
    ['{"a":1,"b":2.0,"c":3}', { a: undefined }, '{"b":2.0,"c":3}'],
    ['{"a":1,"b":2.0,"c":3}', { b: undefined }, '{"a":1,"c":3}'],
    ['{"a":1,"b":2.0,"c":3}', { c: undefined }, '{"a":1,"b":2.0}'],
    ['{ "a":1 }', { a: undefined }, '{  }'],
    ['{"a":1,"b":2,"a":3,"c":4,"a":5}', { a: undefined }, '{"b":2,"c":4}'],
    ['{"a":1 , "b":2\n}', { b: undefined }, '{"a":1\n}'],
    ['{"a":1}', { b: undefined }, '{"a":1}'],
    ['{"a":1,"b":2}', { a: undefined, b: 3, c: 4 }, '{"b":3,"c":4}'],
    ['{"a":1}', { a: undefined, c: 4 }, '{"c":4}'],
  ]
  for (const [text, edits, expected] of cases) t.equal(editMetadata(text, edits), expected, text)
  t.throws(() => editMetadata('{}', { a: () => 1 }), { name: 'AprError', code: 'APR_BAD_METADATA' })
  t.throws(() => editMetadata('[]', { a: 1 }), { name: 'AprError', code: 'APR_BAD_METADATA' })
  t.end()
})

void test('metadata may be nested 128 levels deep, and no deeper', (t) => {
  const nested = (depth: number): Buffer => Buffer.from('{"a":'.repeat(depth - 1) + '{}' + '}'.repeat(depth - 1))
  t.equal(decodeMetadata(nested(128)), nested(128).toString())
  t.throws(() => decodeMetadata(nested(129)), { name: 'AprError', code: 'APR_LIMIT' })
  t.throws(() => decodeMetadata(Buffer.from(`{"a":${'['.repeat(1_000_000)}`)), { name: 'AprError', code: 'APR_LIMIT' })
  t.end()
})

void test('names are ordered by their bytes in UTF-8', (t) => {
  const unit = fc.oneof(
    fc.constantFrom(
      'a',
      'b',
      '.',
      'é',
      '～',
      '\uffff',
      '\ue000',
      '\ud7ff',
      '😀',
      '😁',
      '\u{10ffff}',
      '\u{10000}',
      '\0',
    ),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  )
  const name = fc.array(unit, { maxLength: 6 }).map((units) => units.join(''))
  fc.assert(
    fc.property(name, name, (a, b) => {
      const expected = Buffer.compare(Buffer.from(a), Buffer.from(b))
      if (Math.sign(compareNames(a, b)) !== expected) t.fail(`${JSON.stringify(a)} and ${JSON.stringify(b)}`)
      if (Math.sign(compareNames(b, a)) + expected !== 0) t.fail(`${JSON.stringify(b)} and ${JSON.stringify(a)}`)
    }),
    { seed: 3, numRuns: 20_000 },
  )
  t.end()
})

void test('a layout puts sections one behind the other, padded, and tensors in the order of their names', (t) => {
  fc.assert(
    fc.property(
      fc.uniqueArray(anyTensor, { selector: ({ name }) => name, maxLength: 8 }),
      fc.string(),
      (tensors, text) => {
        const metadata = JSON.stringify({ text })
        const reserved = Uint8Array.from({ length: 20 }, (_, i) => i)
        const model = { format: 'apr' as const, tensors, metadata, flags: 0x0420, minorVersion: 1, reserved }
        const found = layoutModel(model)
        const sorted = [...tensors].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
        const expected = buildApr({
          minor: 1,
          flags: 0x0420,
          reserved,
          metadata,
          tensors: sorted.map(({ name, dtype, shape, size }, i) => {
            const offset = sorted.slice(0, i).reduce((sum, before) => sum + align(before.size), 0)
            return { name, dtype, shape, size, offset, data: Buffer.alloc(0) }
          }),
          footer: false,
        })
        t.equal(Buffer.compare(encodeHead(model), expected), 0)
        t.equal(found.dataOffset, expected.length)
        t.equal(found.fileSize, expected.length + sorted.reduce((sum, { size }) => sum + align(size), 0) + 4)
      },
    ),
    { seed: 4, numRuns: 200 },
  )
  t.end()
})

void test('a layout of tensors that the format cannot hold is refused', (t) => {
  const base = { format: 'apr' as const, metadata: '{}', flags: 0, minorVersion: 0, reserved: new Uint8Array(20) }
  const good: TensorInfo = { name: 'a', dtype: 'F32', shape: [2], size: 8 }
  const refused: [string, Partial<TensorInfo>[]][] = [
    ['APR_BAD_INDEX', [{}, {}]],
    ['APR_BAD_RECORD', [{ size: 7 }]],
    ['APR_BAD_RECORD', [{ shape: [1.5], size: 6 }]],
    ['APR_BAD_RECORD', [{ shape: [-2], size: -8 }]],
    ['APR_BAD_RECORD', [{ name: '\ud800' }]],
    ['APR_LIMIT', [{ name: 'é'.repeat(129) }]],
    ['APR_LIMIT', [{ shape: Array<number>(9).fill(1), size: 4 }]],
  ]
  for (const [code, changes] of refused) {
    const tensors = changes.map((change) => ({ ...good, ...change }))
    t.throws(() => layoutModel({ ...base, tensors }), { name: 'AprError', code }, JSON.stringify(changes))
  }
  t.equal(layoutModel({ ...base, tensors: [{ ...good, name: 'é'.repeat(128) }] }).entries.length, 1)
  t.equal(layoutModel({ ...base, tensors: [{ ...good, shape: [1, 1, 1, 1, 1, 1, 1, 2] }] }).entries.length, 1)
  t.end()
})

void test('parameters are all elements; those of a tied placeholder are counted once', (t) => {
  const embedding: TensorInfo = { name: 'token_embd.weight', dtype: 'F16', shape: [10, 4], size: 80 }
  const tied: TensorInfo = { name: 'lm_head.weight', dtype: 'F16', shape: [10, 4], size: 0 }
  t.equal(parameterCount([embedding, tied]), 40)
  t.equal(parameterCount([embedding, { ...tied, size: 80 }]), 80)
  t.equal(parameterCount([{ ...embedding, shape: [] }]), 1)
  t.end()
})

void test('the CRC-32 of a whole is made of those of its parts', (t) => {
  const bytes = fc.uint8Array({ maxLength: 3000, size: 'max' })
  fc.assert(
    fc.property(bytes, bytes, (first, second) => {
      const whole = crc32(Buffer.concat([first, second]))
      t.equal(combineCrc32(crc32(first), crc32(second), second.length), whole)
      const withZeros = crc32(Buffer.concat([first, Buffer.alloc(second.length)]))
      t.equal(appendZerosCrc32(crc32(first), second.length), withZeros)
    }),
    { seed: 5, numRuns: 500 },
  )
  t.end()
})

void test('the CRC-32 of data of any length, place and content is that of zlib', (t) => {
  const CHUNK = 256 * 1024
  const noise = Buffer.alloc(3 * CHUNK + 1000)
  for (let i = 0, x = 1; i < noise.length; i++, x = (Math.imul(x, 1664525) + 1013904223) >>> 0) noise[i] = x >>> 24
  const contents = { noise, zeros: Buffer.alloc(noise.length), ones: Buffer.alloc(noise.length, 0xff) }
  const near = (middle: number): fc.Arbitrary<number> => fc.integer({ min: middle - 70, max: middle + 70 })
  const lengths = fc.oneof(
    fc.integer({ min: 0, max: 3 * CHUNK }),
    near(CHUNK / 8),
    ...[1, 2, 3].map((chunks) => near(chunks * CHUNK)),
    // A last chunk that is shorter than what the folding looks back on.
    ...[1, 2].map((chunks) => near(chunks * CHUNK + 4800)),
  )
  fc.assert(
    fc.property(
      fc.constantFrom(...(['noise', 'zeros', 'ones'] as const)),
      fc.integer({ min: 0, max: 100 }),
      lengths,
      fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffffffff })),
      (content, start, length, before) => {
        const data = contents[content].subarray(start, start + length)
        return foldingCrc32(data, before) === crc32(data, before)
      },
    ),
    { seed: 6, numRuns: 400 },
  )
  t.end()
})

void test('no bytes leave a CRC-32 as it was, whatever memory they are a view of', (t) => {
  const looked = new Uint8Array(0)
  const views = {
    'of nothing': new Uint8Array(0),
    'of a buffer that was looked at': new Uint8Array(looked.buffer),
    'that was looked at': looked,
    'of an empty buffer': new Uint8Array(new ArrayBuffer(0)),
    'of the end of a buffer': new Uint8Array(64).subarray(64),
    'of a buffer that was moved away': moved(new Uint8Array(64)),
  }
  for (const [what, view] of Object.entries(views)) {
    for (const before of [0, 1, 0xffffffff]) t.equal(foldingCrc32(view, before), before, what)
  }
  t.end()
})

void test('CRC-32 checksums combine over lengths beyond 4 GiB', (t) => {
  // Zeros double their length with every step; 2^35 bytes of them, the other way round: 2^20 appended 2^15 times.
  let doubled = crc32(Buffer.alloc(1024))
  for (let length = 1024; length < 2 ** 35; length *= 2) doubled = combineCrc32(doubled, doubled, length)
  let appended = crc32(Buffer.alloc(0))
  for (let i = 0; i < 2 ** 15; i++) appended = appendZerosCrc32(appended, 2 ** 20)
  t.equal(doubled, appended)
  t.equal(appendZerosCrc32(crc32(Buffer.alloc(0)), 2 ** 35), appended)
  t.end()
})

function moved(view: Uint8Array): Uint8Array {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] })
  return view
}

/** An index entry as the format's table says it. */
function entryByHand({ name, dtype, shape, size, dataOffset }: TensorInfo & { dataOffset: number }): Buffer {
  const file = buildApr({
    metadata: '{}',
    tensors: [{ name, dtype, shape, size, offset: dataOffset, data: Buffer.alloc(0) }],
  })
  return file.subarray(128, 128 + 2 + Buffer.byteLength(name) + 2 + 8 * shape.length + 16)
}

/** A header as the format's table says it. */
function headerByHand(header: AprHeader): Buffer {
  const { minorVersion, flags, tensorCount, metadataOffset, metadataSize, indexOffset, dataOffset, reserved } = header
  const file = buildApr({
    minor: minorVersion,
    flags,
    tensorCount,
    metadataOffset,
    metadataSize,
    indexOffset,
    dataOffset,
    reserved,
  })
  return file.subarray(0, 64)
}

function isJsonObject(text: string): boolean {
  try {
    const value = JSON.parse(text) as unknown
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

/** Sets values in a text whose parts are known: in the last member of the key, else behind the last member of all. */
function editByHand(object: ObjectText, edits: Record<string, unknown>): string {
  const { members } = object
  const edited = members.map((member, i) => {
    const isLast = members.findLastIndex(({ key }) => key === member.key) === i
    const value = isLast && Object.hasOwn(edits, member.key) ? JSON.stringify(edits[member.key]) : member.value
    return { ...member, value }
  })
  const added = Object.entries(edits)
    .filter(([key]) => !members.some((member) => member.key === key))
    .map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`)
    .join(',')
  if (added === '') return join({ ...object, members: edited })
  const last = edited.pop()
  // What is added stands before the whitespace that closes the object.
  if (last === undefined)
    return object.start.replace(/\s*$/, '') + added + (/\s*$/.exec(object.start)?.[0] ?? '') + object.end
  return join({ ...object, members: [...edited, { ...last, value: `${last.value},${added}` }] })
}

/** Whether the members that no edit names still stand there, letter by letter and in their order. */
function keepsTexts({ members }: ObjectText, edits: Record<string, unknown>, edited: string): boolean {
  let position = 0
  return members
    .filter(({ key }) => !Object.hasOwn(edits, key))
    .every(({ before, value }) => {
      const text = before.trimStart() + value
      const found = edited.indexOf(text, position)
      position = found + text.length
      return found >= 0
    })
}
