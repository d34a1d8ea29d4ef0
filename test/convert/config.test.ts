import fs from 'fs-extra'
import { test } from 'tap'
import { readConfig } from '../../dist/convert/config/read-config.js'
import { firstKvs, hparamKvs } from '../../dist/convert/hparams.js'
import type { HfModel } from '../../dist/convert/hf-model.js'
import { ropeFrequencies } from '../../dist/convert/rope-freqs.js'
import { kvValue } from '../../dist/formats/formats.js'

const withText = (text: string): HfModel => {
  return { folder: 'x', tensors: [], files: new Map([['config.json', new TextEncoder().encode(text)]]) }
}
const withConfig = (config: object): HfModel => withText(JSON.stringify(config))

const CLASSES: Readonly<Record<string, string>> = {
  ...{ llama: 'LlamaForCausalLM', mistral: 'MistralForCausalLM', mixtral: 'MixtralForCausalLM' },
  ...{ qwen2: 'Qwen2ForCausalLM', qwen3: 'Qwen3ForCausalLM', qwen3_moe: 'Qwen3MoeForCausalLM' },
}

void test('what config.json does not say is what transformers fills in', async (t) => {
  const all = (await fs.readJson('test/fixtures/hf/transformers-5.23-defaults.json')) as Record<string, object>
  for (const [type, defaults] of Object.entries(all)) {
    const config = { architectures: [CLASSES[type]], model_type: type, hidden_size: 256, num_attention_heads: 4 }
    const { values } = readConfig(withConfig(config)).config
    const found = Object.fromEntries(Object.keys(defaults).map((key) => [key, values[key]]))
    t.strictSame(found, defaults, type)
  }
  t.end()
})

void test('random configurations give the hyperparameters that the converter writes', async (t) => {
  const cases = (await fs.readJson('test/fixtures/hf/configs.json')) as { config: object; kvs: unknown[] }[]
  for (const { config, kvs } of cases) {
    const found = readConfig(withConfig(config))
    const made = [...firstKvs(found), ...hparamKvs(found, 32)].map((pair) => [pair.key, pair.type, kvValue(pair)])
    t.strictSame(made, kvs, JSON.stringify(config))
  }
  t.end()
})

void test('a number of the wrong kind makes transformers refuse the file, and nothing is filled in', (t) => {
  const rest =
    '"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_attention_heads": 4'
  const contextOf = (text: string): unknown =>
    readConfig(withText(`{${rest}, ${text}}`)).config.values['max_position_embeddings']
  t.equal(contextOf('"rms_norm_eps": 1.0'), 2048)
  t.equal(contextOf('"rms_norm_eps": 1e0'), 2048)
  t.equal(contextOf('"rms_norm_eps": 1'), undefined)
  t.equal(contextOf('"vocab_size": 320'), 2048)
  t.equal(contextOf('"vocab_size": 320.0'), undefined)
  t.equal(contextOf('"mlp_bias": null'), undefined)
  t.equal(contextOf('"head_dim": null'), 2048)
  t.equal(contextOf('"rope_scaling": {"type": "linear"}'), undefined)
  t.end()
})

void test('keys that are missing are listed all at once', (t) => {
  const found = readConfig(withConfig({ architectures: ['Qwen3ForCausalLM'], model_type: 'unheard of' }))
  t.throws(() => hparamKvs(found, 1), {
    code: 'APR_BAD_METADATA',
    message:
      'expected config.json to have the numbers num_hidden_layers, max_position_embeddings, hidden_size, intermediate_size, num_attention_heads, rms_norm_eps, found none there that fit',
  })
  const wrong = { architectures: ['Phi3ForCausalLM'], rope_parameters: { long_factor: [1, 2] } }
  t.throws(() => firstKvs(readConfig(withConfig(wrong))), {
    code: 'APR_BAD_METADATA',
    message: /original_max_position/,
  })
  t.end()
})

void test('a class that is not known is refused, with those that are', (t) => {
  const message = /LlamaForCausalLM, .*Qwen3MoeForCausalLM, .*DeepseekV3ForCausalLM, found 'GPT5'|found GPT5/
  t.throws(() => readConfig(withConfig({ architectures: ['GPT5'] })), { code: 'APR_UNSUPPORTED', message })
  for (const architectures of [undefined, [], 'LlamaForCausalLM', [3]]) {
    t.throws(() => readConfig(withConfig({ architectures })), { code: 'APR_UNSUPPORTED' })
  }
  t.throws(() => readConfig({ folder: 'x', tensors: [], files: new Map() }), { code: 'APR_BAD_METADATA' })
  t.throws(() => readConfig(withText('[1]')), { code: 'APR_BAD_METADATA' })
  t.end()
})

interface RopeCase extends Record<string, unknown> {
  readonly head_dim: number
  readonly rope_freqs: number[]
}

void test('factors of rope frequencies are those of torch, bit for bit', async (t) => {
  const cases = (await fs.readJson('test/fixtures/hf/rope-freqs.json')) as RopeCase[]
  t.equal(cases.length, 18)
  const different: string[] = []
  for (const { head_dim: dimensions, rope_freqs: expected, ...rope } of cases) {
    const made = [...ropeFrequencies(dimensions, rope)]
    t.equal(made.length, expected.length)
    made.forEach((value, i) => {
      if (value === expected[i]) return
      different.push(`theta ${String(rope['rope_theta'])}, ${dimensions} dimensions, index ${i}`)
      t.ok(Math.abs(value / (expected[i] ?? 0) - 1) < 2 ** -20, 'the last bits only')
    })
  }
  // torch's vector pow errs by one bit in 33 of 6048 powers: Math.pow, which rounds rightly, differs there.
  t.ok(different.length <= 2, different.join('; '))
  t.comment(different.join('; '))
  t.end()
})
