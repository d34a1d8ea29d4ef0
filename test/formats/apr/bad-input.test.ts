import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { AprError, aprReader, aprWriter, inspect, plan, q4k, quantize, verify, type ByteSource } from 'apr-stream'
import { align, buildApr, f32Bytes, type FileFields, type TensorFields } from '../../helpers/apr-file.js'
import { HOSTILE_FILES } from '../../helpers/hostile-files.js'
import { memorySource } from '../../helpers/memory-source.js'

/** What must be said about a file of `fixtures/hostile`. */
interface Expected {
  /** Where it is found out: before the data, in it, or never, because the file is good. */
  readonly stage: 'open' | 'data' | 'never'
  readonly code?: string
  /** The message without the place. */
  readonly what?: string
  readonly offset?: number
  readonly tensor?: string
}

const FOLDER = fileURLToPath(new URL('../../fixtures/hostile/', import.meta.url))
const CLI = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))
const expectations = JSON.parse(readFileSync(`${FOLDER}expected.json`, 'utf8')) as Record<string, Expected>
const path = (name: string): string => `${FOLDER}${name}.apr`

/** Hostile files whose first bytes are those of another format. */
const OTHER_FORMATS = ['gguf', 'safetensors']

/** Every way to read a file to its end. */
const READERS: Readonly<Record<string, (input: string | ByteSource) => Promise<unknown>>> = {
  aprReader: (input) => pipeline(aprReader(input), discard()),
  'aprReader with small records': (input) =>
    pipeline(aprReader(input, { recordBytes: 1, highWaterMark: 1 }), discard()),
  verify: async (input) => {
    const { error } = await verify(input)
    if (error) throw error
  },
}
/** Every way to read no more than header, metadata and index. */
const OPENERS: Readonly<Record<string, (input: string | ByteSource) => Promise<unknown>>> = { inspect, plan }

void test('every hostile file is there, as it is made, with what must be said about it', (t) => {
  const names = Object.keys(HOSTILE_FILES).sort()
  t.strictSame(Object.keys(expectations).sort(), names)
  t.strictSame(readdirSync(FOLDER).sort(), ['expected.json', ...names.map((name) => `${name}.apr`)].sort())
  for (const [name, bytes] of Object.entries(HOSTILE_FILES)) {
    t.equal(Buffer.compare(readFileSync(path(name)), bytes), 0, name)
  }
  t.end()
})

for (const [name, expected] of Object.entries(expectations)) {
  const isGood = expected.stage === 'never'
  void test(`${name}: ${isGood ? 'is read' : `is refused with ${expected.code ?? ''}`}, and nothing is written`, async (t) => {
    const check = async (way: string, isRefused: boolean, work: Promise<unknown>): Promise<void> => {
      const error = await failureOf(work)
      if (!isRefused) {
        t.equal(error, undefined, way)
        return
      }
      // Where the content tells the format these are files of another one, and wrong in another way, or good.
      if (OTHER_FORMATS.includes(name) && !way.startsWith('aprReader') && way !== 'a pipeline') return
      t.ok(error instanceof AprError, `${way}: ${String(error)}`)
      const { code, what, offset, tensor } = expected
      t.match(
        error,
        { code, what, file: path(name), ...(offset !== undefined && { offset }), ...(tensor && { tensor }) },
        way,
      )
    }
    for (const [way, open] of Object.entries(OPENERS)) await check(way, expected.stage === 'open', open(path(name)))
    for (const [way, read] of Object.entries(READERS)) await check(way, !isGood, read(path(name)))

    const folder = t.testdir({ 'out.apr': 'what stood there' })
    for (const mode of ['stream', 'memory'] as const) {
      const output = `${folder}/${isGood ? mode : 'out'}.apr`
      await check(`quantize, ${mode}`, !isGood, quantize(path(name), output, { mode, overwrite: true }))
      if (isGood) t.match(await verify(output), { ok: true, footer: 'good' }, mode)
    }
    if (isGood) return
    // A pipeline rejects before its stages are closed; the folder is clean when the writer is.
    const writer = aprWriter(`${folder}/new.apr`)
    const closed = new Promise<void>((done) => writer.once('close', done))
    await check('a pipeline', true, pipeline(aprReader(path(name)), q4k(), writer))
    await closed
    t.strictSame(readdirSync(folder), ['out.apr'])
    t.equal(readFileSync(`${folder}/out.apr`, 'utf8'), 'what stood there')
  })
}

void test('verify says of a wrong checksum that it is wrong, and of a missing one that it is missing', async (t) => {
  t.match(await verify(path('checksum-wrong')), { ok: false, footer: 'wrong', verified: 1, tensors: 1 })
  t.match(await verify(path('no-checksum')), { ok: true, footer: 'none', verified: 1, tensors: 1 })
  t.match(await verify(path('padding-of-tensor-not-zero')), { ok: false, footer: 'unchecked' })
  t.match(await verify(path('header-checksum-wrong')), { ok: false, footer: 'unchecked', verified: 0 })
})

void test('the command line says in one line what is wrong, and fails', async (t) => {
  for (const name of ['apr-v1', 'flag-encrypted', 'file-cut-inside-tensor', 'metadata-too-deep', 'name-not-utf-8']) {
    const { code, stdout, stderr } = await cli('inspect', path(name))
    t.equal(code, 1, name)
    t.equal(stdout, '', name)
    t.match(stderr, /^error: [^\n]+\n$/, name)
    t.ok(stderr.startsWith(`error: ${expectations[name]?.what ?? ''}`), name)
  }
  const { stdout } = await cli('inspect', '--json', path('apr-v1'))
  const { error } = JSON.parse(stdout) as { error: Record<string, unknown> }
  t.match(error, { code: 'APR_BAD_MAGIC', file: path('apr-v1'), offset: 0 })
})

for (const name of ['every-dtype', 'golden_v2_skip_none']) {
  void test(`${name} cut short at any byte is refused, but where only padding and checksum are lost`, async (t) => {
    const file = readFileSync(new URL(`../../fixtures/apr/${name}.apr`, import.meta.url))
    const { tensors } = await inspect(memorySource(file))
    const dataEnd = Math.max(...tensors.map(({ position, size }) => position + size))
    const accepted: number[] = []
    for (let length = 0; length <= file.length; length++) {
      const source = memorySource(file.subarray(0, length))
      const { ok, error } = await verify(source)
      if (ok) accepted.push(length)
      else if (!(error instanceof AprError)) t.fail(`cut to ${length} bytes: ${String(error)}`)
      if (!source.isClosed) t.fail(`cut to ${length} bytes: the source stays open`)
    }
    t.strictSame(accepted, [dataEnd, align(dataEnd), file.length])
  })
}

void test('a claim of more metadata than 64 MiB is refused before it is read', async (t) => {
  const size = 64 * 1024 * 1024 + 1
  const head = buildApr({ metadataSize: size, indexOffset: align(64 + size), dataOffset: align(64 + size) + 64 })
  const error = await failureOf(inspect(memorySource(head.subarray(0, 64), align(64 + size) + 128)))
  t.match(error, { name: 'AprError', code: 'APR_LIMIT', file: 'memory.apr', message: /67108864 bytes of metadata/ })
})

void test('a claim of more than a million tensors is refused before the index is read', async (t) => {
  const tensorCount = 1_000_001
  const head = buildApr({ tensorCount, dataOffset: align(128 + tensorCount * 32) }).subarray(0, 128)
  const error = await failureOf(inspect(memorySource(head, align(128 + tensorCount * 32))))
  t.match(error, { name: 'AprError', code: 'APR_LIMIT', file: 'memory.apr', message: /at most 1000000 tensors/ })
})

void test('errors of the file system keep their code', async (t) => {
  const folder = t.testdir({ folder: {} })
  for (const [way, read] of Object.entries({ ...READERS, ...OPENERS })) {
    t.match(await failureOf(read(`${folder}/missing.apr`)), { code: 'ENOENT', path: `${folder}/missing.apr` }, way)
    // A folder may hold a model, but none of this format.
    const place = way.startsWith('aprReader')
      ? { code: 'EISDIR', path: `${folder}/folder` }
      : { name: 'AprError', file: `${folder}/folder` }
    t.match(await failureOf(read(`${folder}/folder`)), place, way)
  }
  t.match(await failureOf(quantize(`${folder}/missing.apr`, `${folder}/out.apr`)), { code: 'ENOENT' })
  t.strictSame(readdirSync(folder), ['folder'])
})

void test('a model without tensors is good, and cannot be written', async (t) => {
  const folder = t.testdir({ 'in.apr': buildApr({ tensors: [] }) })
  t.match(await verify(`${folder}/in.apr`), { ok: true, tensors: 0 })
  for (const mode of ['stream', 'memory'] as const) {
    const error = await failureOf(quantize(`${folder}/in.apr`, `${folder}/out.apr`, { mode }))
    t.match(error, { name: 'AprError', code: 'APR_BAD_RECORD' }, mode)
  }
  t.strictSame(readdirSync(folder), ['in.apr'])
})

/** How a value is written in each dtype. */
const NON_FINITE: Readonly<Record<string, { bytes: number; values: [number, Buffer][] }>> = {
  F32: { bytes: 4, values: [NaN, Infinity, -Infinity].map((value) => [value, f32Bytes([value])]) },
  F16: {
    bytes: 2,
    values: [NaN, Infinity, -Infinity].map((value, i) => [value, Buffer.of(i ? 0 : 1, i > 1 ? 0xfc : 0x7c)]),
  },
  BF16: {
    bytes: 2,
    values: [NaN, Infinity, -Infinity].map((value, i) => [value, Buffer.of(i ? 0x80 : 0xc0, i > 1 ? 0xff : 0x7f)]),
  },
  F64: {
    bytes: 8,
    // The last two are numbers, but none that an F32 can hold.
    values: [NaN, Infinity, -Infinity, 1e39, -1e300].map((value) => [
      value,
      Buffer.from(Float64Array.of(value).buffer),
    ]),
  },
}

for (const [dtype, { bytes, values }] of Object.entries(NON_FINITE)) {
  void test(`${dtype}: NaN and infinity are refused by tensor, element and value, wherever they stand`, async (t) => {
    const folder = t.testdir({})
    const [rows, cols] = [40, 300]
    for (const [value, pattern] of values) {
      for (const element of [0, 255, 256, 299, 300, 20 * cols + 17, rows * cols - 1]) {
        const data = Buffer.alloc(rows * cols * bytes)
        pattern.copy(data, element * bytes)
        const input = `${folder}/in.apr`
        const tensor = { dtype: dtype as 'F32', shape: [rows, cols], data }
        writeFileSync(input, buildApr({ tensors: [{ name: 'a' }, { name: 'bad', ...tensor }, { name: 'c' }] }))
        for (const options of [
          { mode: 'memory' },
          { mode: 'stream' },
          { mode: 'stream', recordBytes: 1000 },
        ] as const) {
          const error = await failureOf(quantize(input, `${folder}/out.apr`, options))
          t.match(
            error,
            { name: 'AprError', code: 'APR_BAD_VALUE', tensor: 'bad', element, value },
            JSON.stringify(options),
          )
        }
        t.equal((await verify(input)).ok, true)
      }
    }
    t.strictSame(readdirSync(folder), ['in.apr'])
  })
}

void test('the scale of an APR_Q8 or APR_Q4 tensor may be no NaN and no infinity', async (t) => {
  const folder = t.testdir({})
  const cases: [string, TensorFields, number][] = [
    [
      'APR_Q8',
      { name: 'bad', dtype: 'APR_Q8', shape: [2, 256], data: Buffer.concat([f32Bytes([NaN]), Buffer.alloc(512)]) },
      0,
    ],
    ['APR_Q4', { name: 'bad', dtype: 'APR_Q4', shape: [2, 256], data: aprQ4WithInfinity(5) }, 5 * 32],
  ]
  for (const [dtype, tensor, element] of cases) {
    writeFileSync(`${folder}/in.apr`, buildApr({ tensors: [tensor] }))
    const error = await failureOf(quantize(`${folder}/in.apr`, `${folder}/out.apr`))
    t.match(error, { name: 'AprError', code: 'APR_BAD_VALUE', tensor: 'bad', element }, dtype)
  }
})

void test('a tensor that is not quantized may hold NaN and infinity, and keeps them', async (t) => {
  const data = f32Bytes(Array.from({ length: 512 }, (_, i) => [NaN, Infinity, -Infinity, -0][i % 4] ?? 0))
  const fields: FileFields = { tensors: [{ name: 'norm', shape: [2, 256], data }] }
  const folder = t.testdir({ 'in.apr': buildApr(fields) })
  await quantize(`${folder}/in.apr`, `${folder}/out.apr`)
  t.equal(Buffer.compare(readFileSync(`${folder}/out.apr`), readFileSync(`${folder}/in.apr`)), 0)
})

void test('what a file says cannot reach the terminal as a command', async (t) => {
  const name = '\u001b]0;title\u0007\u001b[2J\u202e'
  const folder = t.testdir({ 'in.apr': buildApr({ tensors: [{ name, shape: [2] }] }) })
  const { stderr } = await cli('inspect', `${folder}/in.apr`)
  t.match(stderr, /tensor "\\u\{1b\}\]0;title\\u\{7\}\\u\{1b\}\[2J\\u\{202e\}"/)
  // eslint-disable-next-line no-control-regex
  t.notMatch(stderr, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/)
})

function discard(): Writable {
  return new Writable({ objectMode: true, write: (_record, _encoding, done) => done() })
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
    return undefined
  } catch (error) {
    return error
  }
}

async function cli(...parameters: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [CLI, ...parameters])) }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

/** 16 blocks of 32 elements; the scale of one of them is infinite. */
function aprQ4WithInfinity(block: number): Buffer {
  const data = Buffer.alloc(16 * 18)
  data.writeUInt16LE(0x7c00, block * 18)
  return data
}
