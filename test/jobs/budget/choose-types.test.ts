/** Dtypes chosen by the errors that they would have, for an output of a given size. */
import { join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { inspect, plan, quantize, type AprError, type QuantizeOptions } from 'apr-stream'
import { sampledRows } from '../../../dist/jobs/budget/measure.js'
import { cli } from '../../helpers/command.js'
import { goldenFolder } from '../../helpers/golden-hf.js'

const MODELS = {
  'Golden-Llama-3.2-Instruct': 'llama-bpe',
  'golden-qwen3moe-4x64': 'qwen2',
  'mixtral-eight': 'tekken',
} as const

for (const [name, pre] of Object.entries(MODELS)) {
  const folder = goldenFolder(name)

  void test(`${name} keeps to a budget, and is better than the recipe that does`, async (t) => {
    const dir = t.testdir()
    const output = join(dir, 'out.gguf')
    for (const recipe of ['Q3_K_M', 'Q4_K_M', 'Q5_K_M'] as const) {
      const { outputBytes } = await plan(folder, { recipe, pre, output })
      const report = await quantize(folder, output, { targetBytes: outputBytes, pre, overwrite: true })
      t.ok(report.outputBytes <= outputBytes, `${report.outputBytes} of ${outputBytes} bytes`)
      t.equal((await fs.stat(output)).size, report.outputBytes)
      const { choice } = report
      t.ok((choice?.recipeBytes ?? Infinity) <= outputBytes)
      t.ok((choice?.expectedKl ?? Infinity) <= (choice?.recipeKl ?? 0), 'the estimate of the recipe is no better')
    }
  })

  void test(`what was chosen for ${name} is the same again, on any threads, in plan and in job, and as types`, async (t) => {
    const dir = t.testdir()
    const options: QuantizeOptions = { bitsPerWeight: 5.2, pre, to: 'gguf' }
    const report = await quantize(folder, join(dir, 'a.gguf'), options)
    t.ok(report.bitsPerWeight <= 5.2)
    const planned = await plan(folder, { ...options, threads: 1 })
    t.same(planned.choice, report.choice)
    const { recipe, types } = report.choice ?? { recipe: 'Q4_K_M', types: {} }
    await quantize(folder, join(dir, 'b.gguf'), { recipe, types, pre, mode: 'stream', recordBytes: 4096 })
    t.ok((await fs.readFile(join(dir, 'b.gguf'))).equals(await fs.readFile(join(dir, 'a.gguf'))))
  })

  void test(`rules of a user's own come first for ${name}`, async (t) => {
    const output = join(t.testdir(), 'out.gguf')
    const types = { attn_output: 'Q8_0' } as const
    await quantize(folder, output, { bitsPerWeight: 6, pre, types, embeddingType: 'Q4_0', importance: 'moments' })
    for (const { name: tensor, dtype } of (await inspect(output)).tensors) {
      if (tensor.includes('attn_output.weight')) t.equal(dtype, 'Q8_0')
      if (tensor === 'token_embd.weight') t.equal(dtype, 'Q4_0')
    }
  })
}

void test('values and output never get less than Q4_K, and nothing Q2_K without a matrix', async (t) => {
  const folder = goldenFolder('Golden-Llama-3.2-Instruct')
  const dir = t.testdir()
  const dtypesOf = async (options: QuantizeOptions): Promise<Map<string, string>> => {
    const output = join(dir, 'out.gguf')
    await quantize(folder, output, { pre: 'llama-bpe', overwrite: true, ...options })
    return new Map((await inspect(output)).tensors.map(({ name, dtype }) => [name, dtype]))
  }
  const { code, message } = (await dtypesOf({ bitsPerWeight: 1 }).catch((e: unknown) => e)) as AprError
  t.match({ code, message }, { code: 'APR_BAD_OPTION', message: /`bitsPerWeight` of at least 3\.\d+/ })
  const least = Number(/at least ([\d.]+)/.exec(message)?.[1])
  const small = await dtypesOf({ bitsPerWeight: least + 0.0001 })
  t.notOk([...small.values()].includes('Q2_K'))
  t.equal(small.get('blk.0.attn_v.weight'), 'Q4_K')
  const withMatrix = await dtypesOf({ bitsPerWeight: least, importance: 'moments' })
  t.ok([...withMatrix.values()].includes('Q2_K'))
})

void test('budgets that make no sense are refused', async (t) => {
  const folder = goldenFolder('Golden-Llama-3.2-Instruct')
  const output = join(t.testdir(), 'out.gguf')
  const bad: QuantizeOptions[] = [
    { targetBytes: 1000, bitsPerWeight: 4 },
    { targetBytes: 0.5 },
    { bitsPerWeight: -1 },
    { bitsPerWeight: Infinity },
    { bitsPerWeight: 4.5, fit: 'minmax' },
    { bitsPerWeight: 4.5, pure: true },
  ]
  for (const options of bad) await t.rejects(quantize(folder, output, options), { code: 'APR_BAD_OPTION' })
  await t.rejects(quantize(folder, output, { bitsPerWeight: 4.5, pre: 'llama-bpe', to: 'apr' }), {
    code: 'APR_UNSUPPORTED',
  })
  t.same(await fs.readdir(join(output, '..')), [])
})

void test('the command line writes what was chosen, and takes it again', async (t) => {
  const folder = goldenFolder('golden-qwen3moe-4x64')
  const dir = t.testdir()
  const path = (name: string): string => join(dir, name)
  const flags = ['--pre', 'qwen2', '--target-bpw', '4.9']
  await cli(['quantize', folder, ...flags, '--save-types', path('plan.types'), '--plan', '-o', path('a.gguf')])
  const made = await cli(['quantize', folder, ...flags, '--save-types', path('types'), '-o', path('a.gguf'), '--json'])
  t.equal(await fs.readFile(path('types'), 'utf8'), await fs.readFile(path('plan.types'), 'utf8'))
  const { choice } = JSON.parse(made.stdout) as { choice: { recipe: string } }
  const { stdout } = await cli(['quantize', folder, '--pre', 'qwen2', ...flags, '--plan', '-o', path('a.gguf')])
  t.match(stdout, /expected KL \d\.\d{4} nats a token/)
  await fs.writeFile(path('edited'), `# a comment\n\n${await fs.readFile(path('types'), 'utf8')}`)
  const again = ['--pre', 'qwen2', '-s', choice.recipe, '--types', path('edited'), '-o', path('b.gguf')]
  t.equal((await cli(['quantize', folder, ...again])).code, 0)
  t.ok((await fs.readFile(path('a.gguf'))).equals(await fs.readFile(path('b.gguf'))))
  await fs.writeFile(path('wrong'), 'attn_v=Q9_K\n')
  const wrong = await cli(['quantize', folder, '-s', 'Q4_K_M', '--types', path('wrong'), '-o', path('c.gguf')])
  t.match(wrong.stderr, /expected PATTERN=TYPE .* in line 1, found "attn_v=Q9_K"/)
  t.equal(wrong.code, 1)
})

void test('the sample spreads over all matrices, and takes all rows of a small tensor', (t) => {
  const rowsOf = (shape: number[]): number[] =>
    sampledRows({ name: 'w', dtype: 'F32', shape, size: 0 }).flatMap(({ first, count }) =>
      Array.from({ length: count }, (_, i) => first + i),
    )
  t.same(rowsOf([7, 32]), [0, 1, 2, 3, 4, 5, 6])
  t.equal(rowsOf([4096, 32]).length, 256)
  t.ok(new Set(rowsOf([8, 512, 32]).map((row) => Math.floor(row / 512))).size === 8)
  for (const shape of [
    [3, 33, 32],
    [1, 32],
    [1000, 32],
    [5, 7, 32],
  ]) {
    const rows = rowsOf(shape)
    t.equal(new Set(rows).size, rows.length, 'none twice')
    t.ok(rows.every((row) => row >= 0 && row < (shape.length === 3 ? (shape[0] ?? 1) : 1) * (shape.at(-2) ?? 1)))
  }
  t.end()
})
