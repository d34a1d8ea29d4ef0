/** Models in several files: opened by their first, joined, cut anew; parts that do not belong together are refused. */
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import {
  AprError,
  convert,
  ggufReader,
  ggufWriter,
  inspect,
  kv,
  verify,
  type Kv,
  type KvScalar,
  type ScalarType,
} from 'apr-stream'
import { FORMATS } from '../../../dist/formats/formats.js'
import { openInput } from '../../../dist/streams/open-input.js'
import { filesIn, sameBytes } from '../../helpers/files.js'
import { goldenExpected, goldenFolder, goldenModels } from '../../helpers/golden-hf.js'
import { buildGguf, type GgufTensorFields } from '../../helpers/gguf-file.js'
import { layoutFiles } from '../../helpers/layout-files.js'
import { memorySource } from '../../helpers/memory-source.js'

const GOLDEN = 'test/fixtures/hf/small/gguf/tiny-llama-f32.convert.gguf'
const ALIGNED = 'test/fixtures/hf/hostile/gguf/21-model-alignment-4096.gguf'

/** Cuts a model into files of a folder; gives the path of the first. */
async function cut(
  folder: string,
  input: string,
  sizes: { maxFileBytes?: number; maxFileTensors?: number },
  name = 'model.gguf',
): Promise<string> {
  const opened = await openInput(input, FORMATS.gguf)
  const files = await layoutFiles(FORMATS.gguf, opened, { name, ...sizes })
  await opened.input.close()
  for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
  return join(folder, [...files.keys()][0] ?? '')
}

void test('parts of any size are joined to the model that they were cut from', async (t) => {
  for (const input of [GOLDEN, ALIGNED]) {
    for (const sizes of [{ maxFileTensors: 1 }, { maxFileTensors: 7 }, { maxFileBytes: 60_000 }, { maxFileBytes: 1 }]) {
      const folder = t.testdir({ again: {} })
      const first = await cut(folder, input, sizes)
      t.match(first, /model-00001-of-000\d\d\.gguf$/)
      t.match(await verify(first), { ok: true })
      const joined = join(folder, 'joined.gguf')
      await pipeline(ggufReader(first, { recordBytes: 3000 }), ggufWriter(joined))
      sameBytes(t, readFileSync(joined), readFileSync(input), `${input} ${JSON.stringify(sizes)}`)
      const again = await cut(join(folder, 'again'), first, { maxFileTensors: 11 })
      t.match(again, /again.model-00001-of-00003\.gguf$/)
      t.match(await verify(again), { ok: true })
    }
  }
})

void test('files of nine tensors are those of the reference converter', async (t) => {
  for (const name of goldenModels()) {
    const { pre, convertSplit } = await goldenExpected(name)
    const folder = t.testdir({ parts: {} })
    await convert(goldenFolder(name), join(folder, 'conv.gguf'), { pre })
    await cut(join(folder, 'parts'), join(folder, 'conv.gguf'), { maxFileTensors: 9 }, 'conv.gguf')
    const parts = filesIn(join(folder, 'parts')).map((file) => {
      const bytes = readFileSync(join(folder, 'parts', file))
      return { name: file, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
    })
    t.ok(parts.length > 1)
    t.strictSame(
      parts,
      convertSplit.files.map(({ name: file, bytes, sha256 }) => ({ name: file, bytes, sha256 })),
      name,
    )
  }
})

void test('the writer cuts by bytes of data, and what it has written joins to the same file', async (t) => {
  const folder = t.testdir({})
  const output = join(folder, 'model.gguf')
  for (const splitMaxBytes of [1, 60_000, 100_000, 1e9]) {
    await pipeline(ggufReader(GOLDEN, { recordBytes: 10_000 }), ggufWriter(output, { splitMaxBytes }))
    const names = filesIn(folder)
    const expected = t.testdirName + '-expected'
    mkdirSync(expected)
    const first = basename(await cut(expected, GOLDEN, { maxFileBytes: splitMaxBytes }))
    t.strictSame(names, filesIn(expected))
    for (const name of names) sameBytes(t, readFileSync(join(folder, name)), readFileSync(join(expected, name)), name)
    const joined = join(folder, 'joined.gguf')
    await pipeline(ggufReader(join(folder, first)), ggufWriter(joined))
    sameBytes(t, readFileSync(joined), readFileSync(GOLDEN), `joined from parts of ${splitMaxBytes}`)
    for (const name of filesIn(folder)) rmSync(join(folder, name))
    rmSync(expected, { recursive: true })
  }
  t.throws(() => ggufWriter(output, { splitMaxBytes: 0 }), { code: 'APR_BAD_OPTION' })
})

void test('a model that fits into one part is one file', async (t) => {
  const folder = t.testdir({})
  t.equal(await cut(folder, GOLDEN, { maxFileBytes: 1e9 }), join(folder, 'model.gguf'))
  sameBytes(t, readFileSync(join(folder, 'model.gguf')), readFileSync(GOLDEN), 'one file')
})

void test('the parts may be links to files of other names, as in the cache of a hub', async (t) => {
  const folder = t.testdir({ blobs: {}, snapshot: {} })
  const first = await cut(`${folder}/blobs`, GOLDEN, { maxFileTensors: 20 })
  const names = [1, 2].map((i) => `model-0000${i}-of-00002.gguf`)
  for (const [i, name] of names.entries()) {
    copyFileSync(join(folder, 'blobs', name), join(folder, 'blobs', `sha-${i}`))
    rmSync(join(folder, 'blobs', name))
    symlinkSync(join('..', 'blobs', `sha-${i}`), join(folder, 'snapshot', name))
  }
  t.match(await verify(first.replace('blobs', 'snapshot')), { ok: true })
})

type SplitKey = readonly [key: string, type: ScalarType, value: KvScalar]
const split = (no: number, count = 2, tensors = 2): SplitKey[] => [
  ['split.no', 'u16', no],
  ['split.count', 'u16', count],
  ['split.tensors.count', 'i32', tensors],
]
const part = (keys: readonly SplitKey[], tensors: readonly GgufTensorFields[]): Buffer =>
  buildGguf({ kvs: [kv('general.name', 'string', 'm'), ...keys.map((key): Kv => kv(...key))], tensors })

const FIRST = part(split(0), [{ name: 'a' }])
const SECOND = part(split(1), [{ name: 'b' }])
const NAMES = ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'] as const

void test('the first part may hold no tensor, and the others need but their number', async (t) => {
  const folder = t.testdir({
    [NAMES[0]]: part(split(0), []),
    [NAMES[1]]: buildGguf({ kvs: [kv('split.no', 'u16', 1)], tensors: [{ name: 'a' }, { name: 'b' }] }),
  })
  const { tensors, metadata } = await inspect(join(folder, NAMES[0]))
  t.strictSame([tensors.map(({ name }) => name), metadata], [['a', 'b'], { 'general.name': 'm' }])
  t.match(await verify(join(folder, NAMES[0])), { ok: true })
})

const WRONG: Readonly<Record<string, { files: Record<string, Buffer>; open?: string; code: string; message: RegExp }>> =
  {
    'a part that is missing': {
      files: { [NAMES[0]]: FIRST },
      code: 'APR_BAD_INDEX',
      message: /expected part 2 of 2, m-00002-of-00002\.gguf, beside the first, found no such file \(file .*00001/,
    },
    'another part than the first': {
      files: { [NAMES[0]]: FIRST, [NAMES[1]]: SECOND },
      open: NAMES[1],
      code: 'APR_BAD_INDEX',
      message: /found part 2 of 2: give m-00001-of-00002\.gguf/,
    },
    'a name that is none of a part': {
      files: { 'model.gguf': FIRST },
      open: 'model.gguf',
      code: 'APR_BAD_INDEX',
      message: /PREFIX-00001-of-00002\.gguf for the first of 2 parts.*found model\.gguf/,
    },
    'a name of another number of parts': {
      files: { 'm-00001-of-00003.gguf': FIRST },
      open: 'm-00001-of-00003.gguf',
      code: 'APR_BAD_INDEX',
      message: /PREFIX-00001-of-00002\.gguf.*found m-00001-of-00003\.gguf/,
    },
    'a tensor in two parts': {
      files: { [NAMES[0]]: FIRST, [NAMES[1]]: part(split(1), [{ name: 'a' }]) },
      code: 'APR_BAD_INDEX',
      message: /found one twice \(tensor "a"/,
    },
    'another number of tensors': {
      files: { [NAMES[0]]: FIRST, [NAMES[1]]: part(split(1), [{ name: 'b' }, { name: 'c' }]) },
      code: 'APR_BAD_INDEX',
      message: /expected 2 tensors in all 2 parts, found 3/,
    },
    'a part of another number': {
      files: { [NAMES[0]]: FIRST, [NAMES[1]]: part(split(2), [{ name: 'b' }]) },
      code: 'APR_BAD_METADATA',
      message: /expected split\.no 1 in part 2 of the model, found 2 \(file .*00002-of/,
    },
    'a part of another model': {
      files: { [NAMES[0]]: FIRST, [NAMES[1]]: part(split(1, 2, 9), [{ name: 'b' }]) },
      code: 'APR_BAD_METADATA',
      message: /expected split\.tensors\.count 2 in part 2 of the model, found 9/,
    },
    'a part without its number': {
      files: { [NAMES[0]]: FIRST, [NAMES[1]]: part([], [{ name: 'b' }]) },
      code: 'APR_BAD_METADATA',
      message: /expected split\.no as a u16 in a split model, found none/,
    },
    'a count of another type': {
      files: { [NAMES[0]]: part([['split.count', 'u32', 2]], []) },
      code: 'APR_BAD_METADATA',
      message: /expected split\.count as a u16 in a split model, found a u32/,
    },
    'a total of another type': {
      files: { [NAMES[0]]: part([...split(0).slice(0, 2), ['split.tensors.count', 'u32', 2]], []) },
      code: 'APR_BAD_METADATA',
      message: /expected split\.tensors\.count as a i32/,
    },
    'a part that is broken': {
      files: { [NAMES[0]]: FIRST, [NAMES[1]]: SECOND.subarray(0, 100) },
      code: 'APR_TRUNCATED',
      message: /\(byte \d+, file .*00002-of-00002/,
    },
  }

for (const [what, { files, open = NAMES[0], code, message }] of Object.entries(WRONG)) {
  void test(`${what} is refused`, async (t) => {
    const folder = t.testdir(files)
    const { ok, error } = await verify(join(folder, open))
    t.equal(ok, false)
    t.ok(error instanceof AprError)
    t.match(error, { code, message })
  })
}

void test('a part alone, that is no file beside others, says what is missing', async (t) => {
  await t.rejects(inspect(memorySource(FIRST)), { code: 'APR_BAD_INDEX', message: /by which the others are found/ })
})
