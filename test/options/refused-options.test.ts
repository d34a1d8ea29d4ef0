import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import {
  aprReader,
  aprWriter,
  convert,
  ggufWriter,
  inspect,
  plan,
  planConversion,
  q4k,
  recipe,
  quantize,
  safetensorsWriter,
  selectByDefault,
  toGguf,
  verify,
} from 'apr-stream'
import {
  arbitraryTensor,
  filesIn,
  MemorySource,
  modelBytes,
  readModel,
  run,
  sameBytes,
  SAMPLE,
  turns,
} from '../helpers/files.js'

/** Every function that takes options, called as plain JavaScript calls it; nothing is opened before they are checked. */
const FUNCTIONS: Readonly<Record<string, (options: never) => unknown>> = {
  aprReader: (options) => aprReader('missing.apr', options),
  q4k: (options) => q4k(options),
  recipe: (options) => recipe('Q4_K_M', options),
  aprWriter: (options) => aprWriter('missing/out.apr', options),
  quantize: (options) => quantize('missing.apr', 'missing/out.apr', options),
  plan: (options) => plan('missing.apr', options),
  convert: (options) => convert('missing.apr', 'missing/out.gguf', options),
  planConversion: (options) => planConversion('missing.apr', options),
  toGguf: (options) => toGguf(options),
  ggufWriter: (options) => ggufWriter('missing/out.gguf', options),
  safetensorsWriter: (options) => safetensorsWriter('missing/out.safetensors', options),
  inspect: (options) => inspect('missing.apr', options),
  verify: (options) => verify('missing.apr', options),
}

const BAD_NUMBERS = [NaN, Infinity, -1, 1.5, '1', null, true, 1n, 2 ** 53]
const BAD_BOOLEANS = ['false', 'true', 0, 1, null, {}]
const BAD_WORDS = ['best', '', null, true, 0, ['search']]
const BAD_FUNCTIONS = ['name', null, true, {}, Promise.resolve(() => true)]
const BAD_SIGNALS = [null, true, 'SIGINT', {}, new AbortController(), Promise.resolve()]

const BAD_VALUES: Readonly<Record<string, readonly unknown[]>> = {
  recordBytes: [0, ...BAD_NUMBERS],
  highWaterMark: [0, ...BAD_NUMBERS],
  threads: [0, ...BAD_NUMBERS],
  threshold: BAD_NUMBERS,
  ...{ overwrite: BAD_BOOLEANS, spaceCheck: BAD_BOOLEANS, resume: BAD_BOOLEANS, strict: BAD_BOOLEANS },
  ...{ fit: BAD_WORDS, kept: BAD_WORDS, mode: BAD_WORDS },
  ...{ select: BAD_FUNCTIONS, onProgress: BAD_FUNCTIONS },
  signal: BAD_SIGNALS,
  ...{ to: BAD_WORDS, outtype: BAD_WORDS },
  pre: ['', null, 1, {}, true],
  config: ['', null, 1, {}, new URL('ftp://example.com/folder')],
  ...{ splitMaxBytes: [0, ...BAD_NUMBERS], shardMaxBytes: [0, ...BAD_NUMBERS] },
  output: ['', null, 1, {}, new URL('https://example.com/out.apr')],
  imatrix: ['', null, 1, {}, new URL('ftp://example.com/imatrix.gguf')],
  ...{ importance: BAD_WORDS, targetBytes: [0, ...BAD_NUMBERS], bitsPerWeight: [0, -1, NaN, Infinity, '4', null] },
  types: [null, 'Q4_K', 3, true, { '': 'Q4_K' }, { 12: 'Q4_K' }],
  ...{ outputType: BAD_WORDS, embeddingType: BAD_WORDS },
  ...{ pure: BAD_BOOLEANS, leaveOutput: BAD_BOOLEANS, allowRequantize: BAD_BOOLEANS, fallback: BAD_BOOLEANS },
}

const RECIPE_CHOICES = [
  ...['imatrix', 'types', 'outputType', 'embeddingType', 'pure', 'leaveOutput', 'allowRequantize', 'fallback'],
]

const JOB_OPTIONS = [
  'recipe',
  ...RECIPE_CHOICES,
  ...['importance', 'targetBytes', 'bitsPerWeight'],
  ...['fit', 'select', 'kept', 'threads', 'recordBytes', 'to', 'pre', 'config', 'splitMaxBytes', 'report', 'overwrite'],
  ...['mode', 'threshold', 'highWaterMark'],
  ...['spaceCheck', 'resume', 'strict', 'onProgress', 'signal'],
]
const CONVERT_OPTIONS = [
  ...['to', 'outtype', 'pre', 'config', 'splitMaxBytes', 'recordBytes', 'highWaterMark', 'overwrite', 'resume'],
  ...['spaceCheck', 'onProgress', 'signal'],
]
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  aprReader: ['recordBytes', 'highWaterMark'],
  q4k: ['fit', 'select', 'kept', 'threads', 'highWaterMark'],
  recipe: [...RECIPE_CHOICES, 'fit', 'config', 'threads', 'highWaterMark'],
  aprWriter: ['overwrite', 'highWaterMark'],
  quantize: JOB_OPTIONS,
  plan: [...JOB_OPTIONS, 'output'],
  convert: CONVERT_OPTIONS,
  planConversion: [...CONVERT_OPTIONS, 'output'],
  toGguf: ['outtype', 'pre', 'config'],
  ggufWriter: ['overwrite', 'highWaterMark', 'splitMaxBytes'],
  safetensorsWriter: ['overwrite', 'highWaterMark', 'shardMaxBytes'],
  inspect: ['signal'],
  verify: ['signal'],
}

/** What a function answers, thrown or rejected. */
async function failureOf(name: string, options: unknown): Promise<unknown> {
  try {
    await FUNCTIONS[name]?.(options as never)
    return undefined
  } catch (error) {
    return error
  }
}

for (const [name, options] of Object.entries(OPTIONS)) {
  void test(`${name} refuses what is no set of options`, async (t) => {
    for (const value of [null, 'overwrite', 3, true, [], new Map(), Promise.resolve({}), (): object => ({})]) {
      const message = /^expected options to be an object, found /
      t.match(await failureOf(name, value), { code: 'APR_BAD_OPTION', message }, typeof value)
    }
  })

  void test(`${name} refuses options that there are not`, async (t) => {
    const others = Object.keys(BAD_VALUES).filter((option) => !options.includes(option))
    for (const option of [...others, 'recordSize', 'constructor', '__proto__']) {
      const given = Object.fromEntries([[option, undefined]])
      const message = `expected options among ${options.join(', ')}, found ${option}`
      t.match(await failureOf(name, given), { code: 'APR_BAD_OPTION', message }, option)
    }
  })

  void test(`${name} refuses every option of another kind, and says which`, async (t) => {
    for (const option of options) {
      for (const value of BAD_VALUES[option] ?? []) {
        const error = await failureOf(name, { [option]: value })
        const message = new RegExp(`^expected ${option} to be .*, found .`)
        t.match(error, { code: 'APR_BAD_OPTION', message }, `${option}: ${String(value)}`)
      }
    }
  })
}

void test('a text that says false does not replace a file', async (t) => {
  const folder = t.testdir({ 'out.apr': 'mine' })
  const overwrite = 'false' as unknown as boolean
  const output = join(folder, 'out.apr')
  t.throws(() => aprWriter(output, { overwrite }), {
    message: 'expected overwrite to be true or false, found the text "false"',
  })
  await t.rejects(quantize(SAMPLE, output, { overwrite }), { code: 'APR_BAD_OPTION' })
  t.equal(readFileSync(output, 'utf8'), 'mine')
  t.same(filesIn(folder), ['out.apr'])
})

void test('an option that is undefined has its default', async (t) => {
  const folder = t.testdir()
  const nothing = (names: readonly string[] = []): object => Object.fromEntries(names.map((name) => [name, undefined]))
  await quantize(SAMPLE, join(folder, 'a.apr'))
  await quantize(SAMPLE, join(folder, 'b.apr'), nothing(OPTIONS['quantize']))
  await run([
    aprReader(SAMPLE, nothing(OPTIONS['aprReader'])),
    q4k(nothing(OPTIONS['q4k'])),
    aprWriter(join(folder, 'c.apr'), nothing(OPTIONS['aprWriter'])),
  ])
  const expected = readFileSync(join(folder, 'a.apr'))
  sameBytes(t, readFileSync(join(folder, 'b.apr')), expected, 'one call')
  sameBytes(t, readFileSync(join(folder, 'c.apr')), expected, 'streams')
  t.equal((await plan(SAMPLE, nothing(OPTIONS['plan']))).outputBytes, expected.length)
})

void test('options that are inherited or computed count, and are asked for once', async (t) => {
  let asked = 0
  class Options {
    get kept(): 'f32' {
      asked++
      return 'f32'
    }
  }
  const output = join(t.testdir(), 'out.apr')
  const file = modelBytes({ tensors: [arbitraryTensor('a', 'F16', [8]), arbitraryTensor('b', 'F16', [8])] })
  await run([aprReader(new MemorySource(file)), q4k(new Options()), aprWriter(output)])
  t.same(
    readModel(output).tensors.map(({ dtype }) => dtype),
    ['F32', 'F32'],
  )
  t.equal(asked, 1)
})

void test('what a caller does to options later changes nothing', async (t) => {
  const folder = t.testdir()
  const [expected, streamed, inOneCall] = ['a.apr', 'b.apr', 'c.apr'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  await quantize(SAMPLE, expected, { fit: 'minmax', select: selectByDefault, kept: 'same' })

  const options = { fit: 'minmax' as 'minmax' | 'search', select: selectByDefault, kept: 'same' as 'same' | 'f32' }
  const change = (): void => {
    Object.assign(options, { fit: 'search', select: () => false, kept: 'f32', threads: -1, overwrite: false })
  }
  const stages = [aprReader(SAMPLE), q4k(options), aprWriter(streamed)]
  change()
  await run(stages)
  sameBytes(t, readFileSync(streamed), readFileSync(expected), 'a stage')

  Object.assign(options, { fit: 'minmax', select: selectByDefault, kept: 'same', threads: 1, overwrite: true })
  const job = quantize(SAMPLE, inOneCall, options)
  change()
  await job
  sameBytes(t, readFileSync(inOneCall), readFileSync(expected), 'a job')

  const planOptions = { select: selectByDefault }
  const planned = plan(SAMPLE, planOptions)
  planOptions.select = () => false
  t.equal((await planned).quantized, (await plan(SAMPLE)).quantized, 'a plan')
})

void test('the reader reads ahead by its default and no more, in records of its default', async (t) => {
  const MIB = 1024 * 1024
  const bytes = Buffer.alloc(16 * MIB)
  const file = modelBytes({ tensors: [{ name: 'w', dtype: 'U8', shape: [16, MIB], size: bytes.length, bytes }] })
  let proceed = (): void => undefined
  const wait = new Promise<void>((done) => (proceed = done))
  // Header, metadata and index are there at once; no read of the data ends before all are asked for.
  const source: MemorySource = new MemorySource(file, () => (isData(source.reads.at(-1)) ? wait : undefined))
  const isData = (read: { size: number } | undefined): boolean => read !== undefined && read.size >= MIB
  const sizes: number[] = []
  const reading = (async () => {
    for await (const { data } of aprReader(source)) sizes.push(data.length)
  })()
  await turns(200)
  t.equal(
    source.reads.filter(isData).reduce((sum, { size }) => sum + size, 0),
    8 * MIB,
    'under way',
  )
  proceed()
  await reading
  t.same(new Set(sizes), new Set([2 * MIB]), 'records')
})
