/** Models against models: of real files, against plain sums in f64. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import {
  compare,
  convert,
  dequantize,
  inspect,
  modelReader,
  quantize,
  type Comparison,
  type ReportData,
  type TensorFigures,
} from 'apr-stream'
import { buildGguf } from '../../helpers/gguf-file.js'
import { goldenFolder } from '../../helpers/golden-hf.js'
import { memorySource } from '../../helpers/memory-source.js'

const pre = 'default'
const HF = 'test/fixtures/hf/small'
const GGUF = `${HF}/gguf/qwen3moe-stacked.convert.gguf`
const QUANTIZED = `${HF}/gguf/qwen3moe-stacked.Q4_K_M.gguf`

/** Every tensor of a file as numbers. */
async function valuesOf(file: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await inspect(file)
  const bytes = readFileSync(file)
  return new Map(
    tensors.map(({ name, dtype, size, position }) => [
      name,
      dequantize(dtype, bytes.subarray(position, position + size)),
    ]),
  )
}

function near(t: Test, found: number | null, expected: number, what: string): void {
  const difference = Math.abs((found ?? NaN) - expected) / (Math.abs(expected) || 1)
  if (!(difference <= 1e-9)) t.fail(`${what}: ${String(found)}, expected ${expected}`)
}

function checkAgainst(
  t: Test,
  { tensors }: Pick<Comparison, 'tensors'>,
  a: ReadonlyMap<string, Float32Array>,
  b: ReadonlyMap<string, Float32Array>,
): void {
  t.ok(tensors.length > 20)
  for (const { name, w2, v2, e2, relativeError, cosine, maxError, worstRows, shape, weights } of tensors) {
    const [ws, vs] = [a.get(name) ?? [], b.get(name) ?? []]
    const columns = shape.at(-1) ?? 1
    const rows: number[][] = []
    const sums = { w2: 0, v2: 0, wv: 0, e2: 0, greatest: 0 }
    ws.forEach((w, i) => {
      const v = vs[i] ?? NaN
      const e = v - w
      sums.w2 += w * w
      sums.v2 += v * v
      sums.wv += w * v
      sums.e2 += e * e
      sums.greatest = Math.max(sums.greatest, Math.abs(e))
      const row = (rows[Math.floor(i / columns)] ??= [0, 0])
      row[0] = (row[0] ?? 0) + w * w
      row[1] = (row[1] ?? 0) + e * e
    })
    t.equal(weights, ws.length)
    near(t, w2, sums.w2, `${name} w2`)
    near(t, v2, sums.v2, `${name} v2`)
    near(t, e2, sums.e2, `${name} e2`)
    near(t, relativeError, Math.sqrt(sums.e2 / sums.w2), `${name} relative error`)
    near(t, cosine, sums.wv / Math.sqrt(sums.w2 * sums.v2), `${name} cosine`)
    t.ok(Math.abs((maxError?.error ?? NaN) - sums.greatest) <= 1e-6 * sums.greatest, `${name} greatest error`)
    const wrong = rows.filter(([, e = 0]) => e > 0)
    const snrs = wrong.map(([w = 0, e = 0]) => 10 * Math.log10(w / e)).sort((one, other) => one - other)
    for (const [i, { snr }] of worstRows.entries()) near(t, snr, snrs[i] ?? NaN, `${name} row ${i}`)
  }
}

void test('a GGUF file and what was quantized of it: every figure is that of plain sums', async (t) => {
  const result = await compare(GGUF, QUANTIZED)
  checkAgainst(t, result, await valuesOf(GGUF), await valuesOf(QUANTIZED))
  t.same([result.onlyInA, result.onlyInB, result.ok, result.beyond], [[], [], true, []])
  t.match(result, { kind: 'compare', schemaVersion: 1, a: { format: 'gguf' }, b: { format: 'gguf' } })
  const sum = result.kinds.reduce((all, { e2 }) => all + e2, 0)
  near(t, sum, result.total.e2, 'kinds make up the whole')
  t.equal(result.layers.length, 2)
})

void test('a folder of Hugging Face and its GGUF: rows of heads and stacked experts are where they belong', async (t) => {
  const folder = t.testdir()
  const models = [
    'Golden-Llama-3.2-Instruct',
    'mixtral-eight',
    'golden-qwen3moe-4x64',
    'qwen3moe-stacked',
    'tiny-llama-f32',
  ]
  for (const model of models) {
    const input = goldenFolder(model)
    const [whole, small] = [join(folder, `${model}.gguf`), join(folder, `${model}.Q4_K_M.gguf`)]
    await convert(input, whole, { pre, outtype: model.endsWith('f32') ? 'f32' : 'auto' })
    const exact = await compare(input, whole)
    t.equal(exact.total.e2, 0, `${model}: converting loses nothing`)
    t.equal(exact.tensors.length, exact.b.tensors)
    await quantize(whole, small, { recipe: 'Q4_K_M' })
    const [found, expected, back] = [
      await compare(input, small),
      await compare(whole, small),
      await compare(small, input),
    ]
    t.same(byName(found), byName(expected), `${model}: the same as of the GGUF file`)
    t.same(
      back.tensors.map(({ e2 }) => e2).sort(),
      found.tensors.map(({ e2 }) => e2).sort(),
      'and the other way around',
    )
  }
})

void test('the same figures whatever the number of threads', async (t) => {
  const folder = t.testdir()
  const rows = 9000
  const dims = [1024, rows]
  const values = Float32Array.from({ length: 1024 * rows }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 97)))
  const data = Buffer.from(values.buffer)
  const a = join(folder, 'a.gguf')
  writeFileSync(a, buildGguf({ tensors: [{ name: 'blk.0.ffn_up.weight', dims, dtype: 'F32', data }] }))
  const b = join(folder, 'b.gguf')
  await quantize(a, b, { fit: 'minmax', threads: 1 })
  const [one, two, many] = [
    await compare(a, b, { threads: 1 }),
    await compare(a, b, { threads: 2 }),
    await compare(memorySource(readFileSync(a)), b, { threads: 3 }),
  ]
  t.same(two.tensors, one.tensors)
  t.same(many.tensors, one.tensors)
  t.ok((one.total.relativeError ?? 0) > 0.01)
})

void test('the report of a job is what compare finds in its output, figure by figure', async (t) => {
  const folder = t.testdir()
  const cases = [
    { model: 'Golden-Llama-3.2-Instruct', mode: 'stream', imatrix: true },
    { model: 'mixtral-eight', mode: 'memory', imatrix: true },
    { model: 'golden-qwen3moe-4x64', mode: 'stream', imatrix: false },
  ] as const
  for (const { model, mode, imatrix } of cases) {
    const output = join(folder, `${model}.gguf`)
    const reports = [`${output}.job.json`, `${output}.json`] as const
    const matrix = imatrix ? { imatrix: `${HF}/imatrix/${model}/imatrix.gguf` } : {}
    await quantize(goldenFolder(model), output, {
      pre,
      recipe: 'Q4_K_M',
      mode,
      report: reports[0],
      recordBytes: 5000,
      ...matrix,
    })
    const result = await compare(goldenFolder(model), output, { report: reports[1], ...matrix })
    const [job, compared] = reports.map((path) => JSON.parse(readFileSync(path, 'utf8')) as ReportData)
    const plain = job?.tensors.map(({ decision, ...figures }) => {
      t.type(decision?.reason, 'string')
      return figures
    })
    t.same(byName({ tensors: plain ?? [] }), byName(compared ?? result), model)
    t.match(job, { kind: 'quantize', recipe: 'Q4_K_M' })
    t.equal(
      job?.tensors.some(({ weightedError = 0 }) => (weightedError ?? 0) > 0),
      imatrix,
    )
  }
})

void test('with resume, tensors that are there already are in the report', async (t) => {
  const folder = t.testdir()
  const input = goldenFolder('golden-qwen3moe-4x64')
  const options = { pre, recipe: 'Q4_K_M', resume: true } as const
  const [output, report] = [join(folder, 'out.gguf'), join(folder, 'report.json')]
  let records = 0
  const stopped = quantize(input, output, {
    ...options,
    recordBytes: 20_000,
    onProgress() {
      if (++records === 60) throw new Error('stopped')
    },
  })
  await t.rejects(stopped, { message: /stopped/ })
  const { resumedTensors } = await quantize(input, output, { ...options, report })
  t.ok(resumedTensors > 0, `${resumedTensors} were there`)
  const job = JSON.parse(readFileSync(report, 'utf8')) as ReportData
  const compared = await compare(input, output)
  t.same(job.tensors.length, compared.tensors.length)
  t.ok(job.tensors.every(({ weights }) => weights > 0))
})

void test('a report replaces nothing unless it may, and is not written where the job fails', async (t) => {
  const folder = t.testdir({ 'report.json': 'mine' })
  const report = join(folder, 'report.json')
  await t.rejects(compare(GGUF, QUANTIZED, { report }), { code: 'APR_EXISTS' })
  await t.rejects(quantize(GGUF, join(folder, 'out.gguf'), { recipe: 'Q4_K_M', report }), { code: 'APR_EXISTS' })
  t.equal(readFileSync(report, 'utf8'), 'mine')
  await t.rejects(compare(GGUF, QUANTIZED, { report: join(folder, 'report.txt') }), { code: 'APR_BAD_OPTION' })
  const other = join(folder, 'other.json')
  await t.rejects(compare(GGUF, 'missing.gguf', { report: other }), { code: 'ENOENT' })
  t.throws(() => readFileSync(other), { code: 'ENOENT' })
  await compare(GGUF, QUANTIZED, { report, overwrite: true })
  t.match(JSON.parse(readFileSync(report, 'utf8')), { schemaVersion: 1 })
})

void test('tensors beyond the limit, of other shapes, in one alone and with NaN are told', async (t) => {
  const f32 = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer)
  const model = (tensors: Record<string, readonly number[]>): Buffer =>
    buildGguf({
      tensors: Object.entries(tensors).map(([name, values]) => ({
        name,
        dims: [values.length],
        dtype: 'F32',
        data: f32(...values),
      })),
    })
  const a = model({ same: [1, 2], near: [1, 1], far: [1, 1], shape: [1, 2, 3], a: [1], bad: [1, NaN] })
  const b = model({ b: [1], far: [2, 1], near: [1, 1.01], shape: [1, 2], bad: [Infinity, 1], same: [1, 2] })
  const result = await compare(memorySource(a), memorySource(b), { maxError: 0.1 })
  t.equal(result.ok, false)
  t.same(result.beyond, ['far', 'bad', 'shape'])
  t.same(
    result.tensors.map(({ name }) => name),
    ['same', 'near', 'far', 'bad'],
  )
  t.match(result.tensors[3], { weights: 0, notFinite: { inA: 1, inB: 1, element: 0, w: 1, v: 'Infinity' } })
  t.match(result.onlyInA, [
    { name: 'shape', reason: 'shape' },
    { name: 'a', reason: 'missing' },
  ])
  t.match(result.onlyInB, [
    { name: 'shape', reason: 'shape' },
    { name: 'b', reason: 'missing' },
  ])
  const some = await compare(memorySource(a), memorySource(b), { maxError: 0.1, select: ({ name }) => name === 'near' })
  t.match(some, { ok: true, beyond: [], total: { tensors: 1 } })
  await t.rejects(compare(memorySource(a), memorySource(model({ x: [1] }))), { code: 'APR_BAD_INDEX' })
})

void test('both inputs are closed once, whatever is wrong', async (t) => {
  const good = (): ReturnType<typeof memorySource> => memorySource(readFileSync(GGUF))
  const bad = (): ReturnType<typeof memorySource> => memorySource(Buffer.from('no model at all'))
  const pairs = [
    [good(), good()],
    [bad(), good()],
    [good(), bad()],
  ] as const
  for (const [a, b] of pairs) {
    await compare(a, b).catch(() => undefined)
    t.same([a.isClosed, b.isClosed], [true, true])
  }
  const [a, b] = [good(), good()]
  await t.rejects(compare(a, b, { maxError: -1 }), { code: 'APR_BAD_OPTION' })
  t.same([a.isClosed, b.isClosed], [true, true])
  const aborted = compare(GGUF, QUANTIZED, { signal: AbortSignal.abort() })
  await t.rejects(aborted, { name: 'AbortError' })
})

void test('rows of APR that are padded are compared without their padding', async (t) => {
  const folder = t.testdir()
  const small = join(folder, 'small.apr')
  await quantize('examples/models/silero-vad.apr', small, {})
  const result = await compare('examples/models/silero-vad.apr', small)
  const padded = result.tensors.filter(({ dtypeB, shape }) => dtypeB === 'Q4_K' && (shape[1] ?? 0) % 256 !== 0)
  t.ok(padded.length > 0)
  t.ok(padded.every(({ relativeError }) => (relativeError ?? 1) < 0.12))
  const values = new Map<string, Float32Array>()
  for await (const { name, dtype, data, shape, size } of modelReader(small, { recordBytes: 2 ** 26 })) {
    if (data.length === size)
      values.set(name, dequantize(dtype, data.slice(), shape.length === 2 ? shape[1] : undefined))
  }
  for (const { name, v2 } of padded) {
    near(t, v2, values.get(name)?.reduce((sum, v) => sum + v * v, 0) ?? NaN, name)
  }
})

function byName({ tensors }: { readonly tensors: readonly TensorFigures[] }): Record<string, TensorFigures> {
  return Object.fromEntries(tensors.map((tensor) => [tensor.name, tensor]))
}
