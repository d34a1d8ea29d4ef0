import fs from 'fs-extra'
import { test } from 'tap'
import { readConfig } from '../../../dist/convert/config/read-config.js'
import { tokenizerKvs } from '../../../dist/convert/tokenizer/tokenizer.js'
import { kvValue } from '../../../dist/formats/formats.js'
import { expectedForm, type ExpectedKv } from '../../helpers/kv-values.js'

const ROOT = 'test/fixtures/tokenizers'

interface Folder {
  readonly name: string
  readonly files: Readonly<Record<string, unknown>>
  readonly model?: string
  readonly pre?: string
  readonly expected: readonly ExpectedKv[]
}

for (const { name, files, model, pre, expected } of fs.readJsonSync(`${ROOT}/folders.json`) as Folder[]) {
  void test(`the tokenizer of a folder is the converter's: ${name}`, (t) => {
    const all = new Map<string, Uint8Array>()
    for (const [file, content] of Object.entries(files)) {
      all.set(file, Buffer.from(file.endsWith('.json') ? JSON.stringify(content) : String(content)))
    }
    if (model !== undefined) all.set('tokenizer.model', fs.readFileSync(`${ROOT}/${model}.model`))
    const { architecture, vocabSize, raw } = readConfig({ folder: 'model', tensors: [], files: all })
    const kvs = tokenizerKvs(all, { kind: architecture.tokenizer, vocabSize, config: raw, pre })
    t.strictSame(
      kvs.map((pair) => expectedForm(pair, 1000)),
      expected,
    )
    for (const pair of kvs.filter(({ key }) => key.endsWith('.scores'))) {
      const scores = kvValue(pair) as number[]
      t.ok(scores.every(Number.isFinite))
    }
    t.end()
  })
}
