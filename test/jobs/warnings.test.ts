import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { plan, quantize, selectAsApr, type QuantizeOptions } from 'apr-stream'
import { arbitraryTensor, filesIn, modelBytes, SAMPLE } from '../helpers/files.js'
import { MemorySource } from '../helpers/files.js'

const nothing: QuantizeOptions = { select: () => false }

void test('a job that quantizes nothing is warned of, in the plan and in the report', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const warning = 'no tensor is quantized; kept for these reasons: rank 7, user 7, size 1'
  t.same((await plan(SAMPLE, nothing)).warnings, [warning])
  for (const mode of ['stream', 'memory'] as const) {
    const { warnings } = await quantize(SAMPLE, output, { ...nothing, mode, overwrite: true })
    t.same(warnings, [warning])
  }
  t.same((await plan(SAMPLE)).warnings, [], 'one that quantizes something is not')
  const again = await plan(output)
  t.same(again.warnings, [], 'nor one of the same model with the rule of its own')
  await quantize(SAMPLE, output, { overwrite: true })
  t.same((await plan(output)).warnings, ['no tensor is quantized; kept for these reasons: rank 7, quantized 7, size 1'])
})

void test('with strict a warning ends plan and job before anything is written', async (t) => {
  const folder = t.testdir({ 'old.apr': 'old' })
  const expected = {
    code: 'APR_STRICT',
    file: SAMPLE,
    message: /^expected no warnings \(`strict`\), found 1: no tensor is quantized; .*file .*silero-vad\.apr\)$/,
  }
  await t.rejects(plan(SAMPLE, { ...nothing, strict: true }), expected)
  for (const mode of ['stream', 'memory'] as const) {
    const options = { ...nothing, mode, overwrite: true, strict: true }
    await t.rejects(quantize(SAMPLE, join(folder, 'old.apr'), options), expected)
    await t.rejects(quantize(SAMPLE, join(folder, 'missing', 'out.apr'), { ...options, spaceCheck: false }), expected)
  }
  t.same(filesIn(folder), ['old.apr'])
  t.notOk(existsSync(join(folder, 'missing')))

  const report = await quantize(SAMPLE, join(folder, 'out.apr'), { strict: true })
  t.same(report.warnings, [], 'a job without warnings is done')
  t.same(readdirSync(folder).sort(), ['old.apr', 'out.apr'])
})

void test('an error of strict shows no control characters, and closes the input', async (t) => {
  const evil = 'token_embd\u001b[31m'
  const source = new MemorySource(modelBytes({ tensors: [arbitraryTensor(evil, 'F16', [8, 300])] }))
  const job = quantize(source, join(t.testdir(), 'out.apr'), { select: selectAsApr, strict: true })
  await t.rejects(job, { code: 'APR_STRICT', message: /found 1: the embedding "token_embd\\u\{1b\}\[31m"/ })
  t.equal(source.closed, 1)
  t.same(filesIn(t.testdirName), [])
})
