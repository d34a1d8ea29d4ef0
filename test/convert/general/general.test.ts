import { test } from 'tap'
import { generalKvs } from '../../../dist/convert/general/general.js'
import { prepareModelCards } from '../../../dist/convert/general/model-card.js'
import { parameterCounts } from '../../../dist/convert/general/size-label.js'
import type { HfModel } from '../../../dist/convert/hf-model.js'
import { arrayHead, kvValue, type Kv } from '../../../dist/formats/formats.js'
import type { TensorInfo } from '../../../dist/model/tensor.js'
import { goldenExpected, goldenModels, goldenSideFiles, type GoldenTensor } from '../../helpers/golden-hf.js'

await prepareModelCards()

for (const name of goldenModels()) {
  void test(`the general KVs of ${name} are the converter's`, async (t) => {
    const { kv, tensors } = (await goldenExpected(name)).convert
    const hf: HfModel = { folder: name, tensors: [], files: await goldenSideFiles(name) }
    const parameters = parameterCounts(tensors.map(tensorOf))
    const made = generalKvs(hf, { architecture: String(kv[0]?.value), parameters }).map(plain)
    const end = kv.findIndex(({ key }) => !key.startsWith('general.'))
    t.strictSame(made, kv.slice(0, end))
  })
}

const card = (text: string, folder = 'model-x'): HfModel => {
  return { folder, tensors: [], files: new Map([['README.md', new TextEncoder().encode(text)]]) }
}
const parameters = { total: 0, shared: 0, expert: 0, expertCount: 0 }
const kvsOf = (hf: HfModel): unknown[] =>
  generalKvs(hf, { architecture: 'llama', parameters })
    .slice(2)
    .map(plain)
    .map(({ key, type, value }) => [key.replace('general.', ''), type, value])
const NAME = ['name', 'string', 'Model X']

void test('the value of a card is what PyYAML makes of it, where the converter writes it', (t) => {
  const cases: [string, ...unknown[]][] = [
    ['license: mit', ['license', 'string', 'mit']],
    ['license:\n- mit\n- apache-2.0', ['license', 'string', 'mit,apache-2.0']],
    ['license: null'],
    ['license: ""'],
    ['license: no'],
    ['license: 0'],
    ['license: &a mit\nlicense_name: *a', ['license', 'string', 'mit'], ['license.name', 'string', 'mit']],
    ['license: other\nlicense: mit', ['license', 'string', 'mit']],
    ['description: >\n  two\n  lines', ['description', 'string', 'two lines\n']],
    ['base: &b {license: mit}\n<<: *b', ['license', 'string', 'mit']],
    ['tags:\n\t- a\n\t- b', ['tags', 'array[string]', ['a', 'b']]],
    ['tags: a\npipeline_tag: b', ['tags', 'array[string]', ['a', 'b']]],
    ['tags: []'],
    ['tags: [2024, 0x10, 017]', ['tags', 'array[i32]', [2024, 16, 15]]],
    ['tags: [1e5, 1.5e3]', ['tags', 'array[string]', ['1e5', '1.5e3']]],
    ['tags: [yes, No]', ['tags', 'array[bool]', [true, false]]],
    ['tags: ["2024", 12]', ['tags', 'array[string]', ['2024', '12']]],
    ['language:\n- en\n- no', ['languages', 'array[string]', ['en', 'no']]],
    ['language: no'],
    ['languages: de\nlanguage: [en]', ['languages', 'array[string]', ['de', 'en']]],
  ]
  for (const [yaml, ...expected] of cases) {
    const made = kvsOf(card(`---\n${yaml}\n---\n# x\n`))
    t.strictSame(sorted(made), sorted([NAME, ...expected]), yaml)
  }
  t.end()
})

void test('a number or a date is written as it stands in the card', (t) => {
  const made = kvsOf(card('---\nversion: 1.10\nname: 2024-01-02\n---\n'))
  t.strictSame(made, [
    ['name', 'string', '2024-01-02'],
    ['version', 'string', '1.10'],
  ])
  t.end()
})

void test('what the model was made of is told by ids, addresses and mappings', (t) => {
  const made = kvsOf(
    card(`---
base_model:
- org-a/Base-7B-v2
- https://huggingface.co/org-b/Other-1B
- https://example.org/x
- name: Third
  author: someone
- 5
datasets: squad
---
`),
  )
  t.strictSame(made, [
    NAME,
    ['base_model.count', 'u32', 5],
    ['base_model.0.name', 'string', 'Base 7B v2'],
    ['base_model.0.version', 'string', 'v2'],
    ['base_model.0.organization', 'string', 'Org A'],
    ['base_model.0.repo_url', 'string', 'https://huggingface.co/org-a/Base-7B-v2'],
    ['base_model.1.name', 'string', 'Other 1B'],
    ['base_model.1.organization', 'string', 'Org B'],
    ['base_model.1.repo_url', 'string', 'https://huggingface.co/org-b/Other-1B'],
    ['base_model.2.repo_url', 'string', 'https://example.org/x'],
    ['base_model.3.name', 'string', 'Third'],
    ['base_model.3.author', 'string', 'someone'],
    ['dataset.count', 'u32', 1],
    ['dataset.0.name', 'string', 'Squad'],
  ])
  t.strictSame(kvsOf(card('---\nbase_model:\n---\n')), [NAME, ['base_model.count', 'u32', 0]])
  t.end()
})

void test('a file that does not start with YAML is no model card', (t) => {
  const texts = [
    '',
    '# x\n',
    '--- \nlicense: mit\n---\n',
    '\ufeff---\nlicense: mit\n---\n',
    '---\n- a list\n---\n',
    '---\n---\n',
  ]
  for (const text of texts) t.strictSame(kvsOf(card(text)), [NAME], JSON.stringify(text))
  t.strictSame(kvsOf(card('---\r\nlicense: mit\r\n---\r\n')), [NAME, ['license', 'string', 'mit']])
  t.end()
})

void test('a model card that cannot be read is an error that says where', (t) => {
  const broken = ['a: [', 'a: b: c', 'license: {x: 1}', 'a: &x [*x]\nlicense: *x', bomb()]
  for (const yaml of broken) {
    t.throws(
      () => kvsOf(card(`---\n${yaml}\n---\n`)),
      { code: 'APR_BAD_METADATA', file: 'README.md' },
      yaml.slice(0, 40),
    )
  }
  t.throws(() => kvsOf({ ...card(''), files: new Map([['README.md', new Uint8Array([0xff])]]) }), {
    code: 'APR_BAD_METADATA',
  })
  t.end()
})

void test('keys that objects have of themselves are no fields of a card', (t) => {
  t.strictSame(kvsOf(card('---\n__proto__: {license: mit}\nconstructor: x\n---\n')), [NAME])
  t.end()
})

void test('settings of the sampler keep their types; what has another is refused', (t) => {
  const withConfig = (text: string): HfModel => {
    return { ...card(''), files: new Map([['generation_config.json', new TextEncoder().encode(text)]]) }
  }
  const config = { repetition_penalty: 1.5, penalty_repeat: null, top_k: 5, mirostat: 2, min_p: 0, temperature: null }
  t.strictSame(kvsOf(withConfig(JSON.stringify(config))), [
    ['sampling.top_k', 'i32', 5],
    ['sampling.min_p', 'f32', 0],
    ['sampling.mirostat', 'i32', 2],
    NAME,
  ])
  t.strictSame(kvsOf(withConfig('{')), [NAME])
  for (const top_k of [1.5, 2 ** 31, '5']) {
    t.throws(() => kvsOf(withConfig(JSON.stringify({ top_k }))), { code: 'APR_BAD_METADATA' })
  }
  t.end()
})

/** A list of lists that would have a billion elements. */
function bomb(): string {
  const names = Array.from('abcdefghi')
  const lists = names.map(
    (name, i) =>
      `${name}: &${name} [${Array(9)
        .fill(i ? `*${String(names[i - 1])}` : 'x')
        .join()}]`,
  )
  return lists.join('\n')
}

function sorted(rows: unknown[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort()
}

function plain(pair: Kv): { key: string; type: string; value: unknown } {
  const type = pair.type === 'array' ? `array[${arrayHead(pair).element}]` : pair.type
  return { key: pair.key, type, value: kvValue(pair) }
}

function tensorOf({ name, dims }: GoldenTensor): TensorInfo {
  return { name, dtype: 'F32', shape: dims.toReversed(), size: 0 }
}
