import { gunzipSync } from 'node:zlib'
import { join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { readConfig } from '../../../dist/convert/config/read-config.js'
import { tokenizerKvs } from '../../../dist/convert/tokenizer/tokenizer.js'
import type { Kv } from '../../../dist/formats/formats.js'
import { goldenExpected, goldenModels, goldenSideFiles } from '../../helpers/golden-hf.js'
import { expectedForm, type ExpectedKv } from '../../helpers/kv-values.js'

const LARGER = 'test/fixtures/hf/larger'
const LONGEST = 1000

function convert(files: ReadonlyMap<string, Uint8Array>, pre?: string): Kv[] {
  const { architecture, vocabSize, raw } = readConfig({ folder: 'model', tensors: [], files })
  return tokenizerKvs(files, { kind: architecture.tokenizer, vocabSize, config: raw, pre })
}

/** As the fixtures write them: an array's type around that of its elements. */
function written(pairs: readonly Kv[]): ExpectedKv[] {
  return pairs.map((pair) => {
    const form = expectedForm(pair, LONGEST)
    return pair.type === 'array' ? { ...form, type: `array[${form.type}]` } : form
  })
}

for (const name of goldenModels()) {
  void test(`the tokenizer of ${name} is the converter's`, async (t) => {
    const { pre, convert: expected } = await goldenExpected(name)
    const kvs = written(convert(await goldenSideFiles(name), pre))
    t.strictSame(
      kvs,
      expected.kv.filter(({ key }) => key.startsWith('tokenizer.')),
    )
    t.end()
  })
}

interface LargerModel {
  readonly tokenizer: string
  readonly tokenizerConfig: unknown
  readonly config: unknown
}

for (const name of ['large-qwen2', 'large-llama-3']) {
  void test(`the pre-tokenizer of ${name} is found`, async (t) => {
    const models = (await fs.readJson(join(LARGER, 'models.json'))) as Record<string, LargerModel>
    const { tokenizer, tokenizerConfig, config } = models[name] as LargerModel
    const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
    const files = new Map<string, Uint8Array>([
      ['config.json', json(config)],
      ['tokenizer_config.json', json(tokenizerConfig)],
      ['tokenizer.json', gunzipSync(await fs.readFile(join(LARGER, 'tokenizers', `${tokenizer}.json.gz`)))],
    ])
    const expected = (await fs.readJson(join(LARGER, 'expected', `${name}.json`))) as {
      readonly convert: { readonly kv: readonly ExpectedKv[] }
    }
    const own = expected.convert.kv.filter(({ key }) => key.startsWith('tokenizer.'))
    t.strictSame(written(convert(files)), own)
    t.end()
  })
}
