/**
 * The programs that measure quality run, and their yardstick is straight. Not among the usual tests, for they fetch llama.cpp:
 * `npx tap test/llama/evaluates.ts --timeout=900`. Where that cannot be had the check is skipped, and says so.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { convert, quantize } from 'apr-stream'
import { llamaPackagesOrWhyNot } from './packages.js'

const MODEL = 'test/fixtures/hf/small/models/tiny-llama-f32'
const TEXT = 'README.md'

/** What is read of the scores. */
interface Scores {
  readonly perplexity: number
  readonly results: readonly {
    readonly name: string
    readonly kl: { readonly mean: number; readonly error: number }
    readonly same: { readonly mean: number }
    readonly againstFirst: { readonly mean: number; readonly error: number }
  }[]
}

const packages = llamaPackagesOrWhyNot()
const skip = typeof packages === 'string' && packages

void test(
  'a model has no divergence from itself, none when it is turned, and some when it is quantized',
  { skip },
  async (t) => {
    const folder = t.testdir()
    const place = (name: string): string => join(folder, `${name}.gguf`)
    await convert(MODEL, place('original'), { outtype: 'f32', pre: 'llama-bpe' })
    run('turn.js', '--seed', '7', place('original'), place('turned'))
    await quantize(place('original'), place('quantized'), { recipe: 'Q4_0' })

    const json = join(folder, 'scores.json')
    const models = ['original', 'turned', 'quantized'].map(place)
    run(
      'evaluate.js',
      '--text',
      TEXT,
      '--windows',
      '2',
      '--length',
      '128',
      '--json',
      json,
      place('original'),
      ...models,
    )
    const { perplexity, results } = (await fs.readJson(json)) as Scores
    const [same, turned, quantized] = results
    t.ok(perplexity > 1 && Number.isFinite(perplexity))
    t.match(same, { name: 'original', kl: { mean: 0, error: 0 }, same: { mean: 1 } })
    t.ok(Math.abs(turned?.kl.mean ?? 1) < 1e-9, `turned: ${turned?.kl.mean}`)
    t.ok((quantized?.kl.mean ?? 0) > 1e-6, `quantized: ${quantized?.kl.mean}`)
    t.equal(quantized?.againstFirst.mean, quantized?.kl.mean, 'less nothing')
  },
)

void test('an importance matrix that was measured on a text is one that recipes take', { skip }, async (t) => {
  const folder = t.testdir()
  const [model, matrix] = ['original.gguf', 'imatrix.gguf'].map((name) => join(folder, name)) as [string, string]
  await convert(MODEL, model, { outtype: 'f32', pre: 'llama-bpe' })
  run('imatrix.js', '--text', TEXT, '--windows', '2', '--length', '64', model, matrix)
  const report = await quantize(model, join(folder, 'quantized.gguf'), { recipe: 'Q4_0', imatrix: matrix })
  t.same(report.warnings, [])
})

function run(program: string, ...values: string[]): void {
  execFileSync(process.execPath, [join('examples/evaluate', program), ...values], { stdio: 'pipe' })
}
