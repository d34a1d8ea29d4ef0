import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, join, relative } from 'node:path'
import { test } from 'tap'
import {
  aprReader,
  aprWriter,
  inspect,
  plan,
  q4k,
  quantize,
  selectAsApr,
  selectByDefault,
  verify,
  type ByteSource,
  type Q4KOptions,
  type QuantizeOptions,
  type TensorRecord,
} from 'apr-stream'
import {
  arbitraryTensor,
  filesIn,
  fixture,
  MemorySource,
  modelBytes,
  MODELS,
  parseModel,
  readModel,
  run,
  sameBytes,
  SAMPLE,
} from '../helpers/files.js'
import { until } from '../helpers/faults.js'

const SMALL = modelBytes({
  tensors: [
    arbitraryTensor('a.bias', 'F32', [3], 1),
    arbitraryTensor('b.weight', 'F32', [3, 256], 2),
    arbitraryTensor('c.weight', 'F32', [2, 300], 3),
    arbitraryTensor('d.ids', 'U8', [5], 4),
  ],
  metadata: '{"name":"small","param_count":1376}',
})

type Input = string | MemorySource
type Job = (input: Input, output: string, options?: QuantizeOptions) => Promise<unknown>

/** Every way to make a file. */
const JOBS: Record<string, Job> = {
  stream: (input, output, options) => quantize(input, output, { ...options, mode: 'stream' }),
  memory: (input, output, options) => quantize(input, output, { ...options, mode: 'memory' }),
  pipeline: (input, output, { overwrite = false, select = selectByDefault } = {}) =>
    run([aprReader(input), q4k({ select }), aprWriter(output, { overwrite })]),
}

void test('nothing is at the output until the whole file is', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const look = async (): Promise<void> => {
    t.notOk(existsSync(output))
    for (const name of filesIn(folder)) {
      t.ok(name.startsWith('out.apr.partial'), `${name} is not the output`)
      await t.rejects(inspect(join(folder, name)), { name: 'AprError' }, 'and nobody can take it for a model')
    }
  }
  const watch = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    for await (const record of records) {
      await look()
      yield record
    }
    await look()
  }
  await run([aprReader(SAMPLE, { recordBytes: 100_000 }), watch, q4k(), aprWriter(output, { highWaterMark: 1 })])
  t.same(filesIn(folder), ['out.apr'], 'and then nothing else is')
  t.equal((await verify(output)).footer, 'good')

  for (const mode of ['stream', 'memory'] as const) {
    const other = join(folder, `${mode}.apr`)
    let calls = 0
    await quantize(SAMPLE, other, { mode, onProgress: () => t.notOk(existsSync(other), String(++calls)) })
    t.ok(calls >= 15)
    sameBytes(t, readFileSync(other), readFileSync(output), mode)
  }
  t.same(filesIn(folder), ['memory.apr', 'out.apr', 'stream.apr'])
})

void test('an existing output is refused, and stays as it was', async (t) => {
  const folder = t.testdir({ 'out.apr': 'precious' })
  const output = join(folder, 'out.apr')
  const onProgress = (): void => {
    t.fail('nothing is read in vain')
  }
  for (const [name, job] of Object.entries(JOBS)) {
    await t.rejects(job(SAMPLE, output, { onProgress }), { code: 'APR_EXISTS', file: output }, name)
    t.equal(readFileSync(output, 'utf8'), 'precious')
    t.same(filesIn(folder), ['out.apr'])
  }
})

void test('an output that appears while the job runs is refused, and stays as it is', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const meddle = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    yield* records
    writeFileSync(output, 'of another')
  }
  await t.rejects(run([aprReader(SAMPLE), meddle, aprWriter(output)]), { code: 'APR_EXISTS' })
  t.equal(readFileSync(output, 'utf8'), 'of another')
  t.same(filesIn(folder), ['out.apr'])
})

void test('an output that is the input is refused, whatever name leads to it', async (t) => {
  const folder = t.testdir({ folder: {} })
  const input = join(folder, 'in.apr')
  writeFileSync(input, SMALL)
  symlinkSync(input, join(folder, 'link.apr'))
  symlinkSync('link.apr', join(folder, 'link-to-link.apr'))
  symlinkSync(folder, join(folder, 'folder', 'back'))
  linkSync(input, join(folder, 'hard.apr'))
  const before = filesIn(folder)
  const names = ['in.apr', 'link.apr', 'link-to-link.apr', 'hard.apr', 'folder/../in.apr', 'folder/back/in.apr']
  const paths = names.map((name) => join(folder, ...name.split('/')))
  for (const output of [...paths, `${folder}/folder/../in.apr`, relative(process.cwd(), input)]) {
    for (const [name, job] of Object.entries(JOBS)) {
      for (const from of [input, join(folder, 'link.apr'), join(folder, 'hard.apr')]) {
        const what = `${name}: ${relative(folder, from)} to ${output}`
        await t.rejects(job(from, output, { overwrite: true }), { code: 'APR_SAME_FILE' }, what)
        await t.rejects(job(from, output), { name: 'AprError' }, `${what}, without overwrite`)
      }
    }
  }
  sameBytes(t, readFileSync(input), SMALL, 'the input is as it was')
  t.same(filesIn(folder), before, 'nothing is left')
})

void test('an input that stands where the partial file would is refused and unharmed', async (t) => {
  const folder = t.testdir()
  const input = join(folder, 'out.apr.partial')
  writeFileSync(input, SMALL)
  for (const [name, job] of Object.entries(JOBS)) {
    for (const overwrite of [true, false]) {
      await t.rejects(job(input, join(folder, 'out.apr'), { overwrite }), { name: 'AprError' }, name)
      sameBytes(t, readFileSync(input), SMALL, 'the input is as it was')
      t.same(filesIn(folder), ['out.apr.partial'])
    }
  }
})

void test('an output that is being written is not written by another job', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  let count = 0
  const meddle = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    for await (const record of records) {
      // The first record makes it the writer's.
      if (++count === 2) {
        await until(() => existsSync(`${output}.partial`))
        for (const [name, job] of Object.entries(JOBS)) {
          await t.rejects(job(SAMPLE, output, { overwrite: true }), { code: 'APR_BUSY' }, name)
        }
      }
      yield record
    }
  }
  await run([aprReader(SAMPLE), meddle, aprWriter(output)])
  sameBytes(t, readFileSync(output), readFileSync(SAMPLE), 'the first job is not disturbed')
  t.same(filesIn(folder), ['out.apr'])
})

void test('a replaced file keeps its old content until the new one is whole, and after a failure', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const expected = join(folder, 'expected.apr')
  await quantize(new MemorySource(SMALL), expected)
  for (const [name, job] of Object.entries(JOBS)) {
    writeFileSync(output, 'old content')
    const failure = new Error('late')
    const late = new MemorySource(SMALL, (read) => (read === 3 ? Promise.reject(failure) : undefined))
    const check = (): boolean => t.equal(readFileSync(output, 'utf8'), 'old content', name)
    const select = (tensor: Parameters<typeof selectByDefault>[0]): boolean => check() && selectByDefault(tensor)
    await t.rejects(job(late, output, { overwrite: true, select }), failure)
    check()
    t.same(filesIn(folder), ['expected.apr', 'out.apr'])

    await job(new MemorySource(SMALL), output, { overwrite: true, select })
    sameBytes(t, readFileSync(output), readFileSync(expected), name)
    t.same(filesIn(folder), ['expected.apr', 'out.apr'])
  }
})

void test('a link at the output stays, and the file it leads to is replaced', async (t) => {
  const folder = t.testdir({ real: { 'target.apr': 'old' } })
  const link = join(folder, 'link.apr')
  const target = join(folder, 'real', 'target.apr')
  symlinkSync(join('real', 'target.apr'), link)
  for (const [name, job] of Object.entries(JOBS)) {
    writeFileSync(target, 'old')
    await t.rejects(job(new MemorySource(SMALL), link), { code: 'APR_EXISTS' }, `${name}, without overwrite`)
    t.equal(readFileSync(target, 'utf8'), 'old')
    await job(new MemorySource(SMALL), link, { overwrite: true })
    t.ok(lstatSync(link).isSymbolicLink(), 'the link stays')
    t.equal((await verify(target)).ok, true, 'its target is the new file')
    t.same([filesIn(folder), filesIn(join(folder, 'real'))], [['link.apr', 'real'], ['target.apr']])
  }
})

void test('a link that leads nowhere is refused, and stays', async (t) => {
  const folder = t.testdir()
  const link = join(folder, 'link.apr')
  for (const target of ['nowhere.apr', join('missing', 'nowhere.apr'), 'link.apr.partial']) {
    symlinkSync(target, link)
    for (const [name, job] of Object.entries(JOBS)) {
      for (const overwrite of [false, true]) {
        const expected = { code: 'APR_EXISTS', message: /found a link that leads nowhere/ }
        await t.rejects(job(new MemorySource(SMALL), link, { overwrite }), expected, `${name}, to ${target}`)
        t.same(filesIn(folder), ['link.apr'])
        t.ok(lstatSync(link).isSymbolicLink(), 'the link stays')
      }
    }
    rmSync(link)
  }
})

void test('an output that can be no file is refused with the reason', async (t) => {
  const folder = t.testdir({ folder: {}, file: 'text' })
  const before = filesIn(folder)
  const cases: [string, string][] = [
    [join(folder, 'folder'), 'EISDIR'],
    [join(folder, 'missing', 'out.apr'), 'ENOENT'],
    [join(folder, 'file', 'out.apr'), 'ENOTDIR'],
    ...(existsSync('/dev/null') ? ([['/dev/null', 'APR_UNSUPPORTED']] as [string, string][]) : []),
  ]
  for (const [output, code] of cases) {
    for (const [name, job] of Object.entries(JOBS)) {
      const source = new MemorySource(SMALL)
      await t.rejects(job(source, output, { overwrite: true }), { code }, `${name}: ${basename(output)}`)
      // A pipeline that fails while its sink opens may never have opened its source.
      if (name !== 'pipeline') t.equal(source.closed, 1)
      await t.rejects(job(new MemorySource(SMALL), output), { code })
    }
  }
  t.same(filesIn(folder), before)
  t.same(filesIn(join(folder, 'folder')), [])
})

const mayWriteAnywhere = process.getuid?.() === 0 || process.platform === 'win32'
void test('a folder that may not be written to is refused', { skip: mayWriteAnywhere }, async (t) => {
  const folder = t.testdir()
  chmodSync(folder, 0o500)
  t.teardown(() => chmodSync(folder, 0o700))
  t.throws(() => accessSync(folder, constants.W_OK))
  for (const [name, job] of Object.entries(JOBS)) {
    await t.rejects(job(SAMPLE, join(folder, 'out.apr')), { code: 'EACCES' }, name)
  }
  t.same(filesIn(folder), [])
})

void test('a job that the disk has no room for does not start', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  // One tensor of 2^50 bytes: only its index entry is there to be read.
  const head = modelBytes({ tensors: [arbitraryTensor('w', 'U8', [16])] })
  const index = Number(head.readBigUInt64LE(24))
  head.writeBigUInt64LE(2n ** 50n, index + 5)
  head.writeBigUInt64LE(2n ** 50n, index + 21)
  const memory = new MemorySource(head)
  const source: ByteSource = {
    name: 'large.apr',
    size: Number(head.readBigUInt64LE(32)) + 2 ** 50,
    read: (target, position) => memory.read(target, position),
    close: () => memory.close(),
  }
  await t.rejects(quantize(source, output), { code: 'APR_NO_SPACE', message: /1125899906842\d{3} bytes free/ })
  t.equal(memory.closed, 1)
  t.same(filesIn(folder), [])
})

const OPTIONS: Q4KOptions[] = [
  {},
  { kept: 'same' },
  { kept: 'f32' },
  { select: () => true },
  { select: () => false },
  { select: selectAsApr, fit: 'minmax', kept: 'f32' },
]

void test('plan tells the size of the output and what becomes of every tensor exactly', async (t) => {
  const folder = t.testdir()
  for (const path of MODELS) {
    for (const [i, options] of OPTIONS.entries()) {
      const output = join(folder, `${i}-${basename(path)}`)
      const planned = await plan(path, { ...options, output })
      const report = await quantize(path, output, options)
      const before = readModel(path)
      const after = readModel(output)
      t.equal(planned.outputBytes, statSync(output).size)
      t.equal(planned.inputBytes, statSync(path).size)
      t.equal(planned.input, path)
      t.same(
        planned.decisions.map(({ name, shape, dtype, outputDType, inputBytes, outputBytes }) => {
          return { name, shape, dtype, outputDType, inputBytes, outputBytes }
        }),
        before.tensors.map(({ name, shape, dtype, size }, k) => {
          const to = after.tensors[k]
          return { name, shape, dtype, outputDType: to?.dtype, inputBytes: size, outputBytes: to?.size }
        }),
      )
      t.equal(planned.quantized, planned.decisions.filter(({ action }) => action === 'quantize').length)
      t.equal(planned.kept, planned.decisions.filter(({ action }) => action === 'keep').length)
      for (const key of ['inputBytes', 'outputBytes', 'ratio', 'tensors', 'quantized', 'kept', 'mode'] as const) {
        t.equal(planned[key], report[key], key)
      }
      for (const [dtypes, model] of [
        [planned.inputDTypes, before],
        [planned.outputDTypes, after],
      ] as const) {
        const census: Record<string, { tensors: number; bytes: number }> = {}
        for (const { dtype, size } of model.tensors) {
          const entry = (census[dtype] ??= { tensors: 0, bytes: 0 })
          entry.tensors++
          entry.bytes += size
        }
        t.same(dtypes, census)
      }
      t.ok(planned.freeBytes !== undefined && planned.freeBytes > 0)
    }
  }
  t.equal((await plan(new MemorySource(SMALL))).freeBytes, undefined, 'of no disk nothing is told')
})

void test('plan and inspect read no byte of a tensor', async (t) => {
  for (const path of MODELS) {
    const file = readFileSync(path)
    const dataOffset = Number(file.readBigUInt64LE(32))
    const end = Math.max(...(await inspect(path)).tensors.map(({ position, size }) => position + size))
    for (const look of [plan, inspect]) {
      const source = new MemorySource(file)
      await look(source)
      t.equal(source.closed, 1)
      for (const { position, size } of source.reads) {
        t.ok(position + size <= dataOffset || position >= end, `${position} to ${position + size}`)
      }
    }
  }
})

void test('plan warns of an embedding whose rows are no multiple of 256', async (t) => {
  const model = (cols: number, name = 'token_embd.weight'): MemorySource =>
    new MemorySource(modelBytes({ tensors: [arbitraryTensor(name, 'F16', [8, cols])] }))
  t.match((await plan(model(300), { select: selectAsApr })).warnings, [/token_embd\.weight.*rows of 300/])
  t.match((await plan(model(300))).warnings, [/^no tensor is quantized/], 'by default it is not quantized')
  t.same((await plan(model(512), { select: selectAsApr })).warnings, [])
  t.same((await plan(model(300, 'blk.0.weight'), { select: selectAsApr })).warnings, [])
})

void test('the report says what was done', async (t) => {
  let end = 0
  const ends = readModel(SAMPLE).tensors.map(({ size }) => (end += size))
  const output = join(t.testdir(), 'out.apr')
  for (const mode of ['stream', 'memory'] as const) {
    const phases: string[] = []
    const progress: { bytes: number; tensors: number }[] = []
    const { seconds, peakMemoryBytes, ...report } = await quantize(SAMPLE, output, {
      mode,
      overwrite: true,
      recordBytes: 100_000,
      onProgress: ({ phase, bytes, totalBytes, tensors, totalTensors, tensor }) => {
        if (phases.at(-1) !== phase) phases.push(phase)
        if (phase !== 'quantizing') return
        progress.push({ bytes, tensors })
        t.same([totalBytes, totalTensors], [1_238_532, 15])
        t.type(tensor, 'string')
      },
    })
    t.same(report, {
      input: SAMPLE,
      output,
      mode,
      inputFormat: 'apr',
      outputFormat: 'apr',
      inputBytes: 1_239_684,
      outputBytes: 254_532,
      ratio: 1_239_684 / 254_532,
      bitsPerWeight: report.bitsPerWeight,
      files: [{ name: basename(output), bytes: 254_532 }],
      tensors: 15,
      quantized: 7,
      kept: 8,
      reasons: { selected: 7, rank: 7, size: 1 },
      warnings: [],
      resumedTensors: 0,
      restartReason: undefined,
    })
    t.ok(seconds > 0 && peakMemoryBytes > 1_000_000)
    t.same(phases, mode === 'stream' ? ['quantizing'] : ['reading', 'quantizing', 'writing'])
    t.same(progress.at(-1), { bytes: 1_238_532, tensors: 15 }, 'progress ends with all')
    t.ok(progress.length >= 22, 'once a record')
    t.same(
      progress.map(({ tensors }) => tensors),
      progress.map(({ bytes }) => ends.filter((end) => end <= bytes).length),
      'a tensor counts when all of it was read',
    )
    t.ok(
      progress.every(({ bytes }, i) => bytes > (progress[i - 1]?.bytes ?? 0)),
      'and the bytes only grow',
    )
  }
})

void test('the reasons tell why each tensor is quantized or kept', async (t) => {
  const tensors = [
    arbitraryTensor('a.weight', 'F16', [2, 128]),
    arbitraryTensor('b.skipped', 'F16', [2, 128]),
    arbitraryTensor('c.norm', 'F16', [2, 128]),
    arbitraryTensor('d.token_embd', 'F16', [2, 128]),
    arbitraryTensor('e.small', 'F16', [2, 127]),
    arbitraryTensor('f.flat', 'F16', [1000]),
    arbitraryTensor('g.ids', 'I64', [2, 128]),
    arbitraryTensor('h.q6', 'Q6_K', [2, 256]),
    { ...arbitraryTensor('output.weight', 'F16', [0]), shape: [2, 128] },
  ]
  const select = (tensor: Parameters<typeof selectByDefault>[0]): boolean =>
    tensor.name !== 'b.skipped' && selectByDefault(tensor)
  const { decisions, reasons } = {
    ...(await plan(new MemorySource(modelBytes({ tensors })), { select })),
    ...(await quantize(new MemorySource(modelBytes({ tensors })), join(t.testdir(), 'out.apr'), { select })),
  }
  const expected = ['selected', 'user', 'name', 'name', 'size', 'rank', 'dtype', 'quantized', 'tied']
  t.same(
    decisions.map(({ reason }) => reason),
    expected,
  )
  t.same(reasons, { selected: 1, user: 1, name: 2, size: 1, rank: 1, dtype: 1, quantized: 1, tied: 1 })
})

void test('verify tells a file without a checksum from one with a wrong one', async (t) => {
  const good = await verify(new MemorySource(SMALL))
  const { length } = SMALL
  t.same(good, {
    file: 'memory.apr',
    format: 'apr',
    ok: true,
    size: length,
    verified: 4,
    tensors: 4,
    footer: 'good',
    error: undefined,
  })

  const none = new MemorySource(SMALL.subarray(0, -4))
  t.same(await verify(none), { ...good, size: length - 4, footer: 'none' })
  t.equal((await inspect(new MemorySource(SMALL.subarray(0, -4)))).hasFooter, false)

  const changed = Buffer.from(SMALL)
  changed.writeUInt8(changed.readUInt8(length - 1) ^ 1, length - 1)
  const { error, ...wrong } = await verify(new MemorySource(changed))
  t.same({ ...wrong, error: undefined }, { ...good, ok: false, footer: 'wrong' })
  t.match(error, { code: 'APR_BAD_CRC', offset: length - 4, file: 'memory.apr' })
  t.equal((await inspect(new MemorySource(changed))).hasFooter, true, 'inspect does not read the data')

  const missing = await verify(new MemorySource(SMALL.subarray(0, 700)))
  t.match(missing, { ok: false, verified: 0, footer: 'unchecked', error: { code: 'APR_TRUNCATED' } })
  await t.rejects(verify('missing.apr'), { code: 'ENOENT' })
})

void test('inspect tells header, metadata and tensors', async (t) => {
  const path = fixture('every-dtype.apr')
  const found = await inspect(path)
  const expected = JSON.parse(readFileSync(fixture('every-dtype.json'), 'utf8')) as {
    tensors: { name: string; shape: number[]; size: number; offset: number }[]
  }
  const file = readFileSync(path)
  const { metadata } = parseModel(file)
  const dataOffset = Number(file.readBigUInt64LE(32))
  t.match(found, {
    file: path,
    size: file.length,
    version: '2.0',
    flags: 1024,
    flagNames: ['rowMajor'],
    hasFooter: true,
  })
  t.equal(found.metadataText, metadata)
  t.same(found.metadata, JSON.parse(metadata))
  t.same(
    found.tensors.map(({ name, shape, size, position }) => ({ name, shape, size, position })),
    expected.tensors.map(({ name, shape, size, offset }) => ({ name, shape, size, position: dataOffset + offset })),
  )
  t.equal(
    found.parameters,
    expected.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
  )
})

void test('every change of a single byte of a written file is found', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  await quantize(new MemorySource(SMALL), output)
  const file = readFileSync(output)
  t.equal((await verify(output)).ok, true)
  const missed = await changesMissed(file)
  t.same(missed, [], `${file.length} bytes`)
})

async function changesMissed(file: Buffer): Promise<number[]> {
  const missed: number[] = []
  for (let i = 0; i < file.length; i++) {
    for (const bits of [0x01, 0x80, 0xff]) {
      const changed = Buffer.from(file)
      changed.writeUInt8(file.readUInt8(i) ^ bits, i)
      const { ok, error } = await verify(new MemorySource(changed))
      if (ok || error === undefined) missed.push(i)
    }
  }
  return missed
}
