/** Every rule of a header: what breaks one is refused, with a message of its own; what breaks none is read. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { AprError, safetensorsReader, verify, type ByteSource, type TensorRecord } from 'apr-stream'
import { MemorySource, sameBytes } from '../../helpers/files.js'
import { memorySource } from '../../helpers/memory-source.js'
import { safetensorsFile } from '../../helpers/safetensors-file.js'

const entry = (dtype: unknown, shape: unknown, begin: unknown, end: unknown, more: object = {}): object => {
  return { dtype, shape, data_offsets: [begin, end], ...more }
}
const A = entry('F32', [1], 0, 4)
const bytes = (count: number): Buffer => Buffer.from(Array.from({ length: count }, (_, i) => i + 1))

/** By what is wrong: the file, the error's code, a part of its message. */
const REFUSED: Readonly<Record<string, readonly [file: Buffer, code: string, what: string]>> = {
  'an empty file': [Buffer.alloc(0), 'APR_TRUNCATED', 'at least 8 bytes, found 0'],
  'seven bytes': [Buffer.alloc(7), 'APR_TRUNCATED', 'at least 8 bytes, found 7'],
  'a header beyond the end': [
    Buffer.from('ff0000000000000000', 'hex'),
    'APR_TRUNCATED',
    'a header of 255 bytes, found a file of 9',
  ],
  'a header over the limit': [
    Buffer.from('01e1f505000000007b7d', 'hex'),
    'APR_LIMIT',
    'at most 100000000 bytes, found one of 100000001',
  ],
  'a length of 64 bits': [Buffer.alloc(16, 0xff), 'APR_LIMIT', 'found one of 18446744073709551615'],
  'no header': [safetensorsFile(''), 'APR_BAD_HEADER', 'JSON in UTF-8'],
  'not UTF-8': [safetensorsFile(Buffer.from('7b22ff223a317d', 'hex')), 'APR_BAD_HEADER', 'JSON in UTF-8'],
  'a byte order mark': [safetensorsFile('\ufeff{}'), 'APR_BAD_HEADER', 'JSON in UTF-8'],
  'zeros behind the JSON': [safetensorsFile('{}\0\0'), 'APR_BAD_HEADER', 'JSON in UTF-8'],
  'an array': [safetensorsFile('[]'), 'APR_BAD_HEADER', 'an object, found an array'],
  'a number': [safetensorsFile('7'), 'APR_BAD_HEADER', 'an object, found 7'],
  'an entry that is none': [safetensorsFile({ a: 7 }), 'APR_BAD_INDEX', 'the entry to be an object, found 7'],
  'no dtype': [
    safetensorsFile({ a: { shape: [1], data_offsets: [0, 4] } }, bytes(4)),
    'APR_BAD_INDEX',
    'found undefined',
  ],
  'an unknown dtype': [
    safetensorsFile({ a: entry('Q4_K', [256], 0, 144) }, bytes(144)),
    'APR_BAD_INDEX',
    'found the text "Q4_K"',
  ],
  'a dtype in lower case': [
    safetensorsFile({ a: entry('f32', [1], 0, 4) }, bytes(4)),
    'APR_BAD_INDEX',
    'found the text "f32"',
  ],
  'a dtype by a name of objects': [
    safetensorsFile({ a: entry('constructor', [1], 0, 4) }, bytes(4)),
    'APR_BAD_INDEX',
    'found the text "constructor"',
  ],
  'no shape': [
    safetensorsFile({ a: { dtype: 'F32', data_offsets: [0, 4] } }, bytes(4)),
    'APR_BAD_INDEX',
    'expected shape to be an array',
  ],
  'a negative dimension': [
    safetensorsFile({ a: entry('F32', [-1], 0, 4) }, bytes(4)),
    'APR_BAD_HEADER',
    'of digits only',
  ],
  'a broken dimension': [
    safetensorsFile({ a: entry('F32', [1.5], 0, 4) }, bytes(4)),
    'APR_BAD_HEADER',
    'of digits only',
  ],
  'a dimension with a point': [
    safetensorsFile('{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', bytes(4)),
    'APR_BAD_HEADER',
    '"shape":[1.0',
  ],
  'an offset with an exponent': [
    safetensorsFile('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4e0]}}', bytes(4)),
    'APR_BAD_HEADER',
    '"data_offsets":[0,4e0',
  ],
  'an offset of minus zero': [
    safetensorsFile('{"a":{"dtype":"F32","shape":[1],"data_offsets" : [ -0,4]}}', bytes(4)),
    'APR_BAD_HEADER',
    'of digits only',
  ],
  'a dimension that is a text': [
    safetensorsFile({ a: entry('F32', ['1'], 0, 4) }, bytes(4)),
    'APR_BAD_INDEX',
    'below 2^53, found ["1"]',
  ],
  'a dimension of 2^53': [
    safetensorsFile({ a: entry('U8', [2 ** 53], 0, 4) }, bytes(4)),
    'APR_BAD_INDEX',
    'below 2^53, found [9007199254740992]',
  ],
  'an offset of 2^53': [
    safetensorsFile({ a: entry('U8', [4], 2 ** 53, 2 ** 53 + 4) }, bytes(4)),
    'APR_BAD_INDEX',
    'data_offsets to be two whole numbers',
  ],
  'one offset': [
    safetensorsFile({ a: { dtype: 'F32', shape: [1], data_offsets: [0] } }, bytes(4)),
    'APR_BAD_INDEX',
    'found [0]',
  ],
  'three offsets': [
    safetensorsFile({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 4] } }, bytes(4)),
    'APR_BAD_INDEX',
    'found [0,4,4]',
  ],
  'an end before the begin': [
    safetensorsFile({ a: entry('U8', [0], 4, 0) }, bytes(4)),
    'APR_BAD_INDEX',
    'expected 0 bytes for U8 [0], found data_offsets 4 to 0',
  ],
  'offsets of another size than the shape': [
    safetensorsFile({ a: entry('F32', [3], 0, 8) }, bytes(8)),
    'APR_BAD_INDEX',
    'expected 12 bytes for F32 [3], found data_offsets 0 to 8',
  ],
  'a product beyond 2^53': [
    safetensorsFile({ a: entry('U8', [2 ** 40, 2 ** 40], 0, 0) }),
    'APR_LIMIT',
    'less than 2^53 bytes, found U8',
  ],
  'half a byte': [
    safetensorsFile({ a: entry('F4', [3], 0, 2) }, bytes(2)),
    'APR_BAD_INDEX',
    'a multiple of 2 elements of F4, found 3',
  ],
  'parts of a byte': [
    safetensorsFile({ a: entry('F6_E2M3', [2], 0, 2) }, bytes(2)),
    'APR_BAD_INDEX',
    'a multiple of 4 elements of F6_E2M3, found 2',
  ],
  'a first tensor that is not at 0': [
    safetensorsFile({ a: entry('U8', [1], 1, 2) }, bytes(2)),
    'APR_BAD_INDEX',
    'at byte 0, right behind the tensor before, found a hole',
  ],
  'a hole': [
    safetensorsFile({ a: A, b: entry('U8', [1], 5, 6) }, bytes(6)),
    'APR_BAD_INDEX',
    'found a hole before it: they start at 5',
  ],
  'an overlap': [
    safetensorsFile({ a: A, b: entry('U8', [4], 3, 7) }, bytes(7)),
    'APR_BAD_INDEX',
    'found it on the bytes of another tensor: they start at 3',
  ],
  'the same bytes twice': [
    safetensorsFile({ a: A, b: A }, bytes(4)),
    'APR_BAD_INDEX',
    'on the bytes of another tensor',
  ],
  'a byte behind the data': [safetensorsFile({ a: A }, bytes(5)), 'APR_BAD_INDEX', 'found 1 bytes more'],
  'a byte too few': [
    safetensorsFile({ a: A }, bytes(3)),
    'APR_TRUNCATED',
    'expected 4 bytes of data behind the header, found 3',
  ],
  'data and no tensor': [safetensorsFile({}, bytes(1)), 'APR_BAD_INDEX', 'found 1 bytes more'],
  'metadata that is an array': [
    safetensorsFile({ __metadata__: [] }),
    'APR_BAD_METADATA',
    '__metadata__ to be an object',
  ],
  'metadata with a number': [
    safetensorsFile({ __metadata__: { a: 1 } }),
    'APR_BAD_METADATA',
    '__metadata__.a to be a text',
  ],
  'a name with half a character': [
    safetensorsFile(String.raw`{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, bytes(1)),
    'APR_BAD_INDEX',
    'text of whole characters',
  ],
  'the last of two of one name is what counts': [
    safetensorsFile(`{"a":${JSON.stringify(A)},"a":${JSON.stringify(entry('U8', [2], 0, 2))}}`, bytes(4)),
    'APR_BAD_INDEX',
    'found 2 bytes more',
  ],
}

for (const [name, [file, code, what]] of Object.entries(REFUSED)) {
  void test(`refused with ${code}: ${name}`, async (t) => {
    const source = new MemorySource(file)
    const error = await failureOf(source)
    t.ok(error instanceof AprError, String(error))
    t.match(error, { code, file: 'memory.apr' })
    t.ok((error as AprError).what.includes(what), (error as AprError).what)
    t.equal(source.closed, 1)
    t.ok(source.bytesRead <= file.length, 'read no more than there is')
  })
}

void test('a file that claims to be larger than it can be read costs no memory', async (t) => {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(100_000_000n)
  const before = process.memoryUsage().arrayBuffers
  const error = await failureOf(memorySource(length, 1000))
  t.match(error, { code: 'APR_TRUNCATED' })
  t.ok(process.memoryUsage().arrayBuffers - before < 1_000_000)
})

const FOLDER = 'test/fixtures/hf/hostile/safetensors'
for (const name of readdirSync(FOLDER)) {
  void test(`${name} is refused`, async (t) => {
    const error = await failureOf(`${FOLDER}/${name}`)
    t.ok(error instanceof AprError, String(error))
    t.match(error, { file: `${FOLDER}/${name}` })
    t.match((await verify(`${FOLDER}/${name}`)).error, { code: (error as AprError).code })
  })
}

void test('read: what nobody writes, and the reference reads', async (t) => {
  const shared = {
    late: entry('F32', [1], 5, 9),
    'first, and a byte long': entry('U8', [1, 1], 0, 1),
    'a scalar at an odd place': entry('F32', [], 1, 5),
    'nothing, in the middle': entry('F64', [3, 0, 7], 5, 5),
    '': entry('BOOL', [1], 9, 10, { unknown: { shape: 'x', deep: [1.5, -1] } }),
    'nothing, at the end': entry('I64', [0], 10, 10),
  }
  const text = `  \n{"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[10,12]},"__metadata__":null,${JSON.stringify(shared).slice(1)} \t `
  const tensors = await read(memorySource(safetensorsFile(text, bytes(12))))
  t.strictSame(
    [...tensors].map(([name, { dtype, shape, data }]) => [name, dtype, shape, data.toString('hex')]),
    [
      ['', 'BOOL', [1], '0a'],
      ['__proto__', 'U8', [2], '0b0c'],
      ['a scalar at an odd place', 'F32', [], '02030405'],
      ['first, and a byte long', 'U8', [1, 1], '01'],
      ['late', 'F32', [1], '06070809'],
      ['nothing, at the end', 'I64', [0], ''],
      ['nothing, in the middle', 'F64', [3, 0, 7], ''],
    ],
  )
})

void test('tensors come in the order of their names by code point, whatever the header has', async (t) => {
  const names = ['\u{10000}', '\uffee', 'é', 'b', 'a.2', 'a.10', '']
  const header = Object.fromEntries(names.map((name, i) => [name, entry('U8', [1], i, i + 1)]))
  const tensors = await read(memorySource(safetensorsFile(header, bytes(names.length))))
  t.strictSame([...tensors.keys()], ['', 'a.10', 'a.2', 'b', 'é', '\uffee', '\u{10000}'])
})

void test('every dtype of the format is read, byte for byte, in records of any size', async (t) => {
  const bits = {
    ...{ BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8 },
    ...{ F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64 },
    ...{ I64: 64, U64: 64 },
  }
  let end = 0
  const header = Object.fromEntries(
    Object.entries(bits).map(([dtype, size]) => {
      const begin = end
      end += (3 * 400 * size) / 8
      return [dtype, entry(dtype, [3, 400], begin, end)]
    }),
  )
  const data = bytes(end)
  for (const recordBytes of [1, 1000, 1 << 20]) {
    const tensors = await read(memorySource(safetensorsFile(header, data)), recordBytes)
    t.equal(tensors.size, 22)
    for (const [dtype, { data: found }] of tensors) {
      const [begin, until] = (header[dtype] as { data_offsets: [number, number] }).data_offsets
      sameBytes(t, found, data.subarray(begin, until), `${dtype}, records of ${recordBytes} bytes`)
    }
  }
})

interface ReadTensor {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data: Buffer
}

async function read(source: ByteSource | string, recordBytes = 1000): Promise<Map<string, ReadTensor>> {
  const tensors = new Map<string, ReadTensor>()
  for await (const record of safetensorsReader(source, { recordBytes })) {
    const { name, dtype, shape, data } = record as TensorRecord
    const before = tensors.get(name)?.data ?? Buffer.alloc(0)
    tensors.set(name, { dtype, shape, data: Buffer.concat([before, data]) })
  }
  return tensors
}

async function failureOf(source: ByteSource | string): Promise<unknown> {
  try {
    await read(source)
    return undefined
  } catch (error) {
    return error
  }
}
