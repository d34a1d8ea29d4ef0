import fs from 'fs-extra'
import { test } from 'tap'
import { tokenizerKvs } from '../../../dist/convert/tokenizer/tokenizer.js'

interface Words {
  readonly model: Readonly<Record<string, unknown>>
  readonly cases: readonly {
    readonly name: string
    readonly tokenizer: { readonly model: Readonly<Record<string, unknown>> }
    readonly settings: unknown
    readonly config: { readonly vocab_size: number }
    readonly hash: string
  }[]
}

const { model, cases } = fs.readJsonSync('test/fixtures/tokenizers/words.json') as Words

void test('texts are cut, and joined, as the library tokenizers does it, whatever the tokenizer', (t) => {
  for (const { name, tokenizer, settings, config, hash } of cases) {
    const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
    const files = new Map<string, Uint8Array>([
      ['tokenizer.json', json({ ...tokenizer, model: { ...tokenizer.model, ...model } })],
      ['tokenizer_config.json', json(settings)],
    ])
    // None of them is known: the error tells the hash.
    const convert = (): unknown => tokenizerKvs(files, { kind: 'bpe', vocabSize: config.vocab_size, config })
    t.throws(convert, { code: 'APR_UNSUPPORTED', message: new RegExp(`the hash ${hash}; .*\`pre\`.*llama-bpe`) }, name)
  }
  t.end()
})
