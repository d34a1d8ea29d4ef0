/** One call from a format to another: the bytes of the reference, whatever the way, and the sizes that were promised. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import fs from 'fs-extra'
import { test, type Test } from 'tap'
import { convert, inspect, planConversion, quantize, type ConvertOptions, type ConvertReport } from 'apr-stream'
import { filesIn, MemorySource, sameBytes } from '../../helpers/files.js'
import { contents } from '../../helpers/faults.js'
import { goldenExpected, goldenFolder, goldenModels } from '../../helpers/golden-hf.js'

const MOE = 'golden-qwen3moe-4x64'

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** Keys and values, and the bytes of the tensors, in whatever order they are. */
async function contentOf(path: string): Promise<unknown> {
  const { metadata, metadataTypes, tensors } = await inspect(path)
  const bytes = readFileSync(path)
  const hashes = tensors.map(({ name, dtype, shape, size, position }): [string, unknown] => {
    const data = bytes.subarray(position, position + size)
    return [name, { dtype, shape, hash: createHash('sha256').update(data).digest('hex') }]
  })
  return { metadata, metadataTypes, tensors: Object.fromEntries(hashes.sort(([a], [b]) => (a < b ? -1 : 1))) }
}

/** Plans, converts, and compares what was promised with what is there: every file, its size, and nothing else. */
async function convertAsPlanned(
  t: Test,
  input: string,
  output: string,
  options: ConvertOptions = {},
): Promise<ConvertReport> {
  const plan = await planConversion(input, { ...options, output })
  const report = await convert(input, output, options)
  const folder = output.endsWith('/') ? output : dirname(output)
  const written = report.files.map(({ name }) => ({ name, bytes: fs.statSync(join(folder, name)).size }))
  t.strictSame(plan.files, written, 'the files of the plan')
  t.equal(
    plan.outputBytes,
    written.reduce((sum, { bytes }) => sum + bytes, 0),
  )
  const { decisions, metadata, freeBytes, ...summary } = plan
  t.match(report, summary, 'the report says what the plan says')
  t.equal(decisions.length, report.tensors)
  t.ok(freeBytes !== undefined && (metadata.length > 0 || plan.outputFormat === 'safetensors'))
  return report
}

for (const name of goldenModels()) {
  void test(`${name} is converted to the reference's file of every type, through APR and from shards as well`, async (t) => {
    const folder = t.testdir()
    const { pre, convert: auto, outtypes } = await goldenExpected(name)
    const out = (file: string): string => join(folder, file)
    const expected = { auto, f32: outtypes.f32, f16: outtypes.f16, bf16: outtypes.bf16 }
    for (const outtype of ['auto', 'f32', 'f16', 'bf16'] as const) {
      const { outputBytes } = await convertAsPlanned(t, goldenFolder(name), out(`${outtype}.gguf`), { pre, outtype })
      t.equal(sha256(out(`${outtype}.gguf`)), expected[outtype].sha256, outtype)
      t.equal(outputBytes, expected[outtype].bytes)
    }

    await convertAsPlanned(t, goldenFolder(name), out('hf.apr'), { pre })
    // What names it has makes of a folder's name something else: the model's own must come from the folder.
    await convertAsPlanned(t, out('hf.apr'), out('through.gguf'), { pre, config: goldenFolder(name) })
    t.equal(sha256(out('through.gguf')), auto.sha256, 'through APR')

    await convertAsPlanned(t, out('auto.gguf'), out('gguf.apr'))
    await convertAsPlanned(t, out('gguf.apr'), out('back.gguf'))
    t.equal(sha256(out('back.gguf')), auto.sha256, 'GGUF to APR and back')

    // The folder's name is one of the things that the metadata come from.
    const [joined, sharded] = [join(folder, 'a', name, '/'), join(folder, 'b', name, '/')]
    await Promise.all(['a', 'b'].map((sub) => fs.ensureDir(out(sub))))
    await convertAsPlanned(t, goldenFolder(name), joined)
    await convertAsPlanned(t, joined, out('joined.gguf'), { pre })
    // The order in GGUF is that of the shards and, in each, of the names: that of a single file may be another.
    t.strictSame(await contentOf(out('joined.gguf')), await contentOf(out('auto.gguf')), 'from one file')
    // A tensor that is too large for any shard has one of its own, before those that were still to be filled.
    const { tensors } = await inspect(joined)
    await convertAsPlanned(t, joined, sharded, { splitMaxBytes: Math.max(...tensors.map(({ size }) => size)) })
    t.ok(filesIn(sharded).filter((file) => file.endsWith('.safetensors')).length > 2)
    await convertAsPlanned(t, sharded, out('sharded.gguf'), { pre })
    t.equal(sha256(out('sharded.gguf')), sha256(out('joined.gguf')), 'from shards')
  })
}

void test('a GGUF is split, split another way and joined: the bytes are those of one cut, and of the whole', async (t) => {
  const folder = t.testdir()
  const at = (file: string): string => join(folder, file)
  const { pre, convert: whole } = await goldenExpected(MOE)
  for (const sub of ['a', 'b', 'c']) await fs.ensureDir(at(sub))
  const first = (sub: string): string => {
    const name = readdirSync(at(sub)).sort()[0] ?? ''
    t.match(name, /^x-00001-of-\d{5}\.gguf$/)
    return join(at(sub), name)
  }
  await convertAsPlanned(t, goldenFolder(MOE), at('whole.gguf'), { pre })
  await convertAsPlanned(t, at('whole.gguf'), at('a/x.gguf'), { splitMaxBytes: 300_000 })
  await convertAsPlanned(t, goldenFolder(MOE), at('b/x.gguf'), { pre, splitMaxBytes: 120_000 })
  t.not(filesIn(at('a')).length, filesIn(at('b')).length)
  await convertAsPlanned(t, first('b'), at('c/x.gguf'), { splitMaxBytes: 300_000 })
  t.strictSame(contents(at('c')), contents(at('a')), 'split another way')
  await convertAsPlanned(t, first('b'), at('joined.gguf'))
  t.equal(sha256(at('joined.gguf')), whole.sha256, 'joined')
})

void test('safetensors are sharded, sharded another way and joined, with what stands beside them', async (t) => {
  const folder = t.testdir()
  const at = (file: string): string => join(folder, file)
  const shards = (sub: string): string[] => filesIn(at(sub)).filter((name) => name.endsWith('.safetensors'))
  await convertAsPlanned(t, goldenFolder(MOE), at('one/'))
  await convertAsPlanned(t, at('one/'), at('many/'), { splitMaxBytes: 100_000 })
  await convertAsPlanned(t, at('many/'), at('few/'), { splitMaxBytes: 400_000 })
  await convertAsPlanned(t, at('few/'), at('again/'), { splitMaxBytes: 100_000 })
  await convertAsPlanned(t, at('few/'), at('joined/'))
  t.strictSame(shards('one'), ['model.safetensors'])
  t.ok(shards('many').length > shards('few').length && shards('few').length > 1)
  t.strictSame(contents(at('again')), contents(at('many')), 'the same shards whatever they were made of')
  t.strictSame(contents(at('joined')), contents(at('one')), 'joined')
  for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) {
    sameBytes(t, readFileSync(join(at('few'), name)), readFileSync(join(goldenFolder(MOE), name)), name)
  }
})

void test('a folder that is there needs no slash to be an output of safetensors', async (t) => {
  const folder = t.testdir({ there: {}, 'named.gguf': {} })
  const report = await convert(goldenFolder(MOE), join(folder, 'there'))
  t.equal(report.outputFormat, 'safetensors')
  t.ok(filesIn(join(folder, 'there')).includes('config.json'))
  const plan = await planConversion(goldenFolder(MOE), { output: join(folder, 'there') })
  t.strictSame(plan.files, report.files)
  const refused = { code: 'APR_BAD_OPTION', message: /\.gguf, \.safetensors or a slash/ }
  await t.rejects(convert(goldenFolder(MOE), join(folder, 'not-there')), refused)
  await t.rejects(convert(goldenFolder(MOE), join(folder, 'named.gguf'), { pre: 'smollm' }), { code: 'EISDIR' })
  t.strictSame(filesIn(folder), ['named.gguf', 'there'])
})

void test('the keys of a plan are those of the reference, and those that are written', async (t) => {
  const folder = t.testdir()
  for (const name of [MOE, 'Golden-Llama-3.2-Instruct']) {
    const { pre, convert: expected } = await goldenExpected(name)
    const { metadata, decisions, dropped } = await planConversion(goldenFolder(name), { pre, to: 'gguf' })
    t.strictSame(
      metadata.map(({ key }) => key),
      expected.kv.map(({ key }) => key),
    )
    for (const [i, { key, value, length }] of metadata.entries()) {
      const wanted = expected.kv[i]?.value
      if (!Array.isArray(wanted)) t.same(value, wanted, key)
      else t.same(value, wanted.slice(0, (value as unknown[]).length), `${key} of ${length ?? wanted.length} elements`)
      if (length !== undefined) t.equal(length, (wanted as unknown[]).length)
    }
    t.strictSame(
      decisions.map(({ name: own, dtype, bytes }) => ({ name: own, dtype, bytes })),
      expected.tensors.map(({ name: own, dtype, bytes }) => ({ name: own, dtype, bytes })),
    )
    t.strictSame(dropped, [])
    const out = join(folder, `${name}.gguf`)
    await convert(goldenFolder(name), out, { pre })
    const { metadataTypes = {} } = await inspect(out)
    t.strictSame(Object.fromEntries(metadata.map(({ key, type }) => [key, type])), { ...metadataTypes })
  }
  const experts = (await planConversion(goldenFolder(MOE), { pre: 'smollm', to: 'gguf' })).decisions.filter(
    ({ name }) => name.includes('_exps'),
  )
  t.ok(experts.length > 0)
  for (const { bytes, sources } of experts) {
    t.equal(sources.length, 4, 'an expert each')
    t.equal(
      sources.reduce((sum, source) => sum + source.bytes, 0),
      bytes,
    )
  }
})

/** Ends a job when this share of the input has gone by. */
function endAt(share: number): Pick<ConvertOptions, 'signal' | 'onProgress'> {
  const controller = new AbortController()
  return {
    signal: controller.signal,
    onProgress({ phase, bytes, totalBytes }) {
      if (phase !== 'checking' && bytes >= share * totalBytes) controller.abort('enough')
    },
  }
}

/** Each tensor is written by itself, so that some are noted before others. */
const SMALL_STEPS = { recordBytes: 4096, highWaterMark: 1, resume: true } as const

const RESUMED: Record<
  string,
  (input: string, output: string, options: ConvertOptions) => Promise<{ resumedTensors: number }>
> = {
  convert: (input, output, options) => convert(input, output, { pre: 'smollm', ...options }),
  'convert to several files': (input, output, options) =>
    convert(input, output, { pre: 'smollm', splitMaxBytes: 200_000, ...options }),
  'convert to APR': (input, output, options) => convert(input, output, { to: 'apr', ...options }),
  quantize: (input, output, options) =>
    quantize(input, output, { pre: 'smollm', mode: 'stream', fit: 'minmax', threads: 1, ...options }),
}

for (const [title, job] of Object.entries(RESUMED)) {
  void test(`${title} goes on where an earlier run was ended, again and again, and gives the same bytes`, async (t) => {
    const folder = t.testdir({ whole: {}, broken: {} })
    const output = join(folder, 'broken', 'x.gguf')
    await job(goldenFolder(MOE), join(folder, 'whole', 'x.gguf'), {})
    const expected = contents(join(folder, 'whole'))
    for (const share of [0.4, 0.7, 0.95]) {
      const ended = { name: 'AbortError', cause: 'enough' }
      await t.rejects(job(goldenFolder(MOE), output, { ...SMALL_STEPS, ...endAt(share) }), ended)
      const left = filesIn(join(folder, 'broken'))
      t.ok(left.length > 1 && left.every((name) => name.includes('.partial')), left.join(', '))
    }
    const { resumedTensors } = await job(goldenFolder(MOE), output, SMALL_STEPS)
    t.ok(resumedTensors > 10, `${resumedTensors} tensors were there`)
    t.strictSame(contents(join(folder, 'broken')), expected)
  })
}

void test('what an earlier run has left of another type or pre-tokenizer is not gone on with', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'x.gguf')
  const { pre, outtypes } = await goldenExpected(MOE)
  const first = { pre, ...SMALL_STEPS, ...endAt(0.7) }
  await t.rejects(convert(goldenFolder(MOE), output, first), { name: 'AbortError' })
  const report = await convert(goldenFolder(MOE), output, { pre, outtype: 'f32', resume: true })
  t.match(report, { resumedTensors: 0, restartReason: /input, the options or the version/ })
  t.equal(sha256(output), outtypes.f32.sha256)
  t.strictSame(filesIn(folder), ['x.gguf'])
})

void test('a conversion that is ended without `resume` leaves nothing, new folders neither', async (t) => {
  const folder = t.testdir()
  for (const share of [0, 0.5, 1]) {
    for (const output of ['x.gguf', 'x.apr', 'new/']) {
      const job = convert(goldenFolder(MOE), join(folder, output), { pre: 'smollm', ...endAt(share) })
      await t.rejects(job, { name: 'AbortError', cause: 'enough' }, `${output} at ${share}`)
      t.strictSame(filesIn(folder), [])
    }
  }
})

for (const name of goldenModels()) {
  void test(`${name} is quantized on the way, streaming and in memory, as it is from its GGUF`, async (t) => {
    const folder = t.testdir()
    const at = (file: string): string => join(folder, file)
    const { pre } = await goldenExpected(name)
    const options = { pre, fit: 'minmax', threads: 1 } as const
    await convert(goldenFolder(name), at('whole.gguf'), { pre })
    await quantize(at('whole.gguf'), at('twice.gguf'), { fit: 'minmax', threads: 1 })
    for (const mode of ['stream', 'memory'] as const) {
      const report = await quantize(goldenFolder(name), at(`${mode}.gguf`), { ...options, mode })
      t.match(report, { mode, inputFormat: 'safetensors', outputFormat: 'gguf' })
      t.equal(report.outputBytes, fs.statSync(at(`${mode}.gguf`)).size)
      sameBytes(t, readFileSync(at(`${mode}.gguf`)), readFileSync(at('twice.gguf')), mode)
    }
    for (const mode of ['stream', 'memory'] as const) {
      await quantize(at('whole.gguf'), at(`${mode}.apr`), { fit: 'minmax', threads: 1, mode })
    }
    sameBytes(t, readFileSync(at('memory.apr')), readFileSync(at('stream.apr')), 'GGUF to APR')
  })
}

void test('what cannot be converted is refused before anything is written, and a source is closed', async (t) => {
  const folder = t.testdir()
  const gguf = 'test/fixtures/hf/small/gguf/tiny-llama-f32.convert.gguf'
  const cases: [string, ConvertOptions, { code: string; message?: RegExp }][] = [
    ['x', {}, { code: 'APR_BAD_OPTION' }],
    ['new/', {}, { code: 'APR_UNSUPPORTED', message: /only from safetensors, found one of gguf \(file [^(]+\)$/ }],
    ['x.safetensors', {}, { code: 'APR_UNSUPPORTED' }],
    ['x.apr', { splitMaxBytes: 1000 }, { code: 'APR_BAD_OPTION', message: /splitMaxBytes/ }],
    ['x.gguf', { splitMaxBytes: 0 }, { code: 'APR_BAD_OPTION' }],
    ['x.gguf', { to: 'onnx' as never }, { code: 'APR_BAD_OPTION' }],
    ['x.gguf', { outtype: 'q8_0' as never }, { code: 'APR_BAD_OPTION' }],
    ['none/x.gguf', {}, { code: 'ENOENT' }],
  ]
  for (const [output, options, error] of cases) {
    const source = new MemorySource(readFileSync(gguf))
    await t.rejects(convert(source, join(folder, output), options), error, output)
    t.equal(source.closed, 1)
    await t.rejects(planConversion(gguf, { ...options, output: join(folder, output) }), error, `plan of ${output}`)
  }
  // As it was given, also where that is relative.
  const asFolder = relative('.', join(folder, 'folder.apr'))
  await fs.ensureDir(asFolder)
  for (const output of [asFolder, `${asFolder}/`]) {
    const error = { code: 'EISDIR', path: output, message: `EISDIR: expected a file, found a directory, '${output}'` }
    await t.rejects(convert(gguf, output, { to: 'apr' }), error, output)
  }
  await fs.rmdir(asFolder)
  await t.rejects(convert(gguf, gguf, { overwrite: true }), { code: 'APR_SAME_FILE' })
  await fs.copy(gguf, join(folder, 'there.gguf'))
  await t.rejects(convert(gguf, join(folder, 'there.gguf')), { code: 'APR_EXISTS' })
  t.strictSame(filesIn(folder), ['there.gguf'])
})
