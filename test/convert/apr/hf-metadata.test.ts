import { test } from 'tap'
import { hfMetadata } from '../../../dist/convert/apr/hf-metadata.js'
import { tokenizerTexts } from '../../../dist/convert/apr/tokenizer-texts.js'
import { goldenModels, goldenSideFiles } from '../../helpers/golden-hf.js'

interface Tokenizer {
  readonly model: { readonly vocab: Readonly<Record<string, number>>; readonly merges: (string | string[])[] }
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[]
}

void test('vocabulary and merges are those that tokenizer.json holds, in any way to write it', async (t) => {
  for (const name of goldenModels()) {
    const files = await goldenSideFiles(name)
    const text = new TextDecoder().decode(files.get('tokenizer.json'))
    const tokenizer = JSON.parse(text) as Tokenizer
    const { model, added_tokens: added } = tokenizer
    const tokens: string[] = []
    for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token
    for (const { id, content } of added) tokens[id] = content
    const expected = Array.from({ length: Math.max(tokens.length, 400) }, (_, id) => tokens[id] ?? '<unk>')
    const merges = model.merges.map((merge) => (Array.isArray(merge) ? merge.join(' ') : merge))
    const pairs = { ...tokenizer, model: { ...model, merges: merges.map((merge) => merge.split(' ')) } }
    for (const way of [text, JSON.stringify(pairs), JSON.stringify(pairs, null, 2), `\ufeff${text}`]) {
      const { vocabulary, merges: made } = tokenizerTexts(way, 400)
      t.strictSame(JSON.parse(vocabulary?.json ?? ''), expected)
      t.equal(vocabulary?.count, expected.length)
      t.strictSame(JSON.parse(made ?? ''), merges)
    }
  }
})

void test('what a tokenizer has no ids or merges for is left out', (t) => {
  for (const text of [
    '{}',
    '{"model":null}',
    '{"model":{"vocab":[["a",-1.5]],"merges":{}}}',
    '{"model":{"vocab":{}}}',
  ]) {
    const { vocabulary, merges } = tokenizerTexts(text, 10)
    t.strictSame([vocabulary, merges], [undefined, undefined], text)
  }
  t.throws(() => tokenizerTexts('{', 1), { code: 'APR_BAD_METADATA', message: /tokenizer's JSON/ })
  t.throws(() => tokenizerTexts('{"model":{"vocab":{"a":99999999999}}}', 1), { code: 'APR_LIMIT' })
  t.end()
})

void test('configurations in their older and newer ways give the keys that programs look for', (t) => {
  const of = (config: object): Record<string, unknown> => {
    const files = new Map([['config.json', new TextEncoder().encode(JSON.stringify(config))]])
    const made = Array.from(hfMetadata(files, undefined), ([key, json]) => [key, JSON.parse(json) as unknown] as const)
    return Object.fromEntries(made)
  }
  t.match(of({ model_type: 'gpt2', n_embd: 8, n_layer: 2, n_head: 4, n_ctx: 16, layer_norm_epsilon: 1e-5 }), {
    ...{ hidden_size: 8, num_layers: 2, num_heads: 4, num_kv_heads: 4, max_position_embeddings: 16 },
    ...{ rms_norm_eps: 1e-5, rope_theta: 10000, rope_type: 0 },
  })
  t.match(of({ model_type: 'qwen3', rope_parameters: { rope_theta: 5e6 }, architectures: ['Qwen3ForCausalLM'] }), {
    ...{ rope_theta: 5e6, rope_type: 2, hf_architecture: 'Qwen3ForCausalLM', architecture: 'qwen3' },
  })
  t.match(of({ model_type: 'gemma3', text_config: { hidden_size: 8, model_type: 'gemma3_text' } }), {
    ...{ hidden_size: 8, architecture: 'gemma3' },
  })
  // Whole numbers are what programs read: another would make them drop all metadata.
  t.equal('hidden_size' in of({ hidden_size: 8.5, vocab_size: '9' }), false)
  t.end()
})
