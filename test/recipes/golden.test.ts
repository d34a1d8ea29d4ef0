import fs from 'fs-extra'
import { test, type Test } from 'tap'
import { decideRecipe } from '../../dist/recipes/decide.js'
import { recipeKvs, withKvs } from '../../dist/recipes/kvs.js'
import { findRecipe, recipeNamed } from '../../dist/recipes/names.js'
import { kvValue, type GgufModel } from '../../dist/formats/formats.js'
import { goldenExpected, goldenModels, type GoldenExpected } from '../helpers/golden-hf.js'
import { askedBy, convertedModel, pairOf, settingsOf, withoutLayers, type Asked } from '../helpers/golden-recipes.js'

interface Run {
  readonly command: string
  readonly types?: Readonly<Record<string, string>>
  readonly refused?: string
  readonly kvTail?: readonly { readonly key: string; readonly type: string; readonly value: unknown }[]
}

interface KeptSplit {
  readonly oracle: string
  readonly files: readonly { readonly types: Readonly<Record<string, string>> }[]
}

interface Expected extends Omit<GoldenExpected, 'split'> {
  readonly split?: Readonly<Record<`keepSplit ${string}`, KeptSplit>>
  readonly quantize: Readonly<Record<string, Run>>
  readonly imatrix?: { readonly entries: readonly string[] }
}

/** The model that a run starts from. */
function sourceOf(asked: Asked, converted: GgufModel): GgufModel {
  if (asked.source === 'model') return converted
  const tensors = decideRecipe(converted, { name: recipeNamed(asked.source) }).map(({ to }) => to)
  return { ...converted, tensors, kvs: recipeKvs(converted, recipeNamed(asked.source)) }
}

function checkRun(t: Test, key: string, run: Run, expected: Expected): void {
  const asked = askedBy(run.command)
  const source = sourceOf(asked, convertedModel(expected.convert))
  // COPY is no recipe: nothing is decided.
  if (asked.recipe === 'COPY') return
  const settings = settingsOf(asked, expected.imatrix?.entries ?? [])
  if (run.refused !== undefined) {
    t.throws(() => decideRecipe(source, settings), { name: 'AprError', code: 'APR_UNSUPPORTED' }, key)
    return
  }
  const blocks = source.kvs.find(({ key: own }) => own.endsWith('.block_count'))
  const layersBefore = blocks && Number(kvValue(blocks))
  const model = withoutLayers(source, asked.pruned)
  const decisions = decideRecipe(model, { ...settings, layersBefore })
  t.strictSame(
    decisions.map(({ to }) => [to.name, to.dtype]),
    Object.entries(run.types ?? {}),
    key,
  )
  const moved = decisions.filter(({ from, to, reason }) => {
    return String(to.shape) !== String(from.shape) || (reason === 'excluded' && to !== from)
  })
  t.strictSame(moved, [])
  if (run.kvTail) checkTail(t, asked, source, run.kvTail)
}

function checkTail(t: Test, asked: Asked, source: GgufModel, tail: NonNullable<Run['kvTail']>): void {
  const value = (key: string) => tail.find((pair) => pair.key === `quantize.imatrix.${key}`)?.value
  const importance =
    asked.imatrix === undefined
      ? undefined
      : {
          file: asked.imatrix,
          dataset: value('dataset') as string,
          entries: value('entries_count') as number,
          chunks: value('chunks_count') as number,
        }
  const made = recipeKvs(source, recipeNamed(asked.recipe), importance)
  // What a command overrides, or leaves out, comes behind.
  const own = tail.filter(({ key }) => /^(golden|general\.name|.*\.block_count)/.test(key))
  const kvs = withKvs(
    made,
    own.map(({ key, type, value }) => pairOf(key, type, value)),
  )
  const last = kvs.slice(-tail.length).map((pair) => ({ key: pair.key, type: pair.type, value: kvValue(pair) }))
  t.strictSame(last, tail)
  t.equal(kvs.filter(({ key }) => key === 'general.file_type').length, 1)
}

for (const name of goldenModels()) {
  void test(`${name} becomes what llama-quantize makes of it, tensor by tensor`, async (t) => {
    const expected = (await goldenExpected(name)) as unknown as Expected
    for (const [key, run] of Object.entries(expected.quantize)) checkRun(t, key, run, expected)
    const converted = convertedModel(expected.convert)
    for (const [key, { oracle, files }] of Object.entries(expected.split ?? {})) {
      if (!key.startsWith('keepSplit')) continue
      const decisions = decideRecipe(converted, settingsOf(askedBy(oracle), []))
      const types = files.flatMap(({ types }) => Object.entries(types))
      t.strictSame(
        decisions.map(({ to }) => [to.name, to.dtype]),
        types,
        key,
      )
    }
    t.end()
  })
}

for (const name of ['large-llama-3', 'large-qwen2']) {
  void test(`${name} with its real vocabulary too`, async (t) => {
    const expected = (await fs.readJson(`test/fixtures/hf/larger/expected/${name}.json`)) as Expected
    for (const [key, run] of Object.entries(expected.quantize)) checkRun(t, key, run, expected)
    t.end()
  })
}

void test('recipes are found by name, alias and number, in capitals or not', (t) => {
  t.equal(findRecipe('q4_k_m'), 'Q4_K_M')
  t.equal(findRecipe('Q3_k'), 'Q3_K_M')
  t.equal(findRecipe('15'), 'Q4_K_M')
  t.equal(findRecipe('0'), 'F32')
  t.equal(findRecipe('IQ2_XXS'), undefined)
  t.equal(findRecipe('toString'), undefined)
  t.throws(() => recipeNamed('iq2_xxs'), { code: 'APR_BAD_OPTION', message: /block types are not made here$/ })
  t.throws(() => recipeNamed('Q9'), { code: 'APR_BAD_OPTION', message: /found the text "Q9"$/ })
  t.throws(() => recipeNamed(15), { code: 'APR_BAD_OPTION', message: /found 15$/ })
  t.end()
})
