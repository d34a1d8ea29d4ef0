import { join } from 'node:path'
import { test } from 'tap'
import { readConfig } from '../../dist/convert/config/read-config.js'
import type { HfModel } from '../../dist/convert/hf-model.js'
import { planTensors } from '../../dist/convert/plan-tensors.js'
import type { TargetTensor } from '../../dist/convert/tensor-plan.js'
import type { DType } from '../../dist/model/dtypes.js'
import { goldenFolder } from '../helpers/golden-hf.js'
import { convertTensor, loadHf } from '../helpers/hf-folder.js'
import { writeTiny } from '../helpers/tiny-hf.js'

const hostile = (name: string) => loadHf(join('test/fixtures/hf/hostile/folders', name))
const planOf = (hf: HfModel): readonly TargetTensor[] => planTensors(readConfig(hf), hf, 'auto').tensors

void test('what keeps a folder from being converted is said by name', async (t) => {
  const cases: [string, string, RegExp][] = [
    [
      '07-unmapped-name',
      'APR_UNSUPPORTED',
      /no name in GGUF for 1: model\.layers\.0\.self_attn\.q_proj\.weight_scale_inv/,
    ],
    ['08-config-key-missing', 'APR_BAD_METADATA', /numbers num_attention_heads, found none/],
    ['11-expert-missing', 'APR_BAD_INDEX', /none for .*block_sparse_moe\.experts\.1\.w2\.weight/],
    ['12-tensor-missing', 'APR_BAD_INDEX', /found none for 1: blk\.0\.attn_v\.weight/],
    ['13-layer-too-many', 'APR_UNSUPPORTED', /no name in GGUF for 1: model\.layers\.1\.input_layernorm\.weight/],
    ['14-architecture', 'APR_UNSUPPORTED', /architectures of config\.json to name one of LlamaForCausalLM/],
  ]
  for (const [name, code, message] of cases) {
    const { hf } = await hostile(name)
    t.throws(() => planOf(hf), { code, message }, name)
  }
  t.ok(planOf((await hostile('00-good')).hf).length > 0)
  t.end()
})

void test('a head that is stored although it is tied is written, as the converter does', async (t) => {
  const loaded = await hostile('16-tied-but-stored')
  const head = planOf(loaded.hf).find(({ tensor }) => tensor.name === 'output.weight')
  t.ok(head)
  if (head) t.strictSame(convertTensor(head, loaded), new Uint8Array(loaded.data.get('lm_head.weight') ?? []))
  t.end()
})

type Change = (tensors: HfModel['tensors']) => HfModel['tensors']

const like = (name: string, dtype: DType, shape: number[] = [8, 8]): HfModel['tensors'][number] => {
  return { name, dtype, shape, size: 0 }
}
const reshaped =
  (part: string, shape: number[]): Change =>
  (tensors) =>
    tensors.map((tensor) => (tensor.name.endsWith(part) ? { ...tensor, shape } : tensor))

void test('all that does not fit is told in one error', async (t) => {
  const { hf } = await loadHf(goldenFolder('golden-qwen3moe-4x64'))
  const error = (change: Change, config?: object): unknown => {
    const files = new Map(hf.files)
    const old = JSON.parse(new TextDecoder().decode(hf.files.get('config.json'))) as object
    if (config) files.set('config.json', new TextEncoder().encode(JSON.stringify({ ...old, ...config })))
    try {
      planOf({ ...hf, files, tensors: change(hf.tensors) })
    } catch (thrown) {
      return thrown
    }
    return undefined
  }
  const without =
    (part: string): Change =>
    (tensors) =>
      tensors.filter(({ name }) => !name.includes(part))
  const p = 'model.layers.0.self_attn.q_proj'
  const cases: [Change, RegExp, object?][] = [
    [without('lm_head'), /none for 1: output\.weight/],
    [
      without('layers.1.mlp.experts.2.'),
      /none for 6: model\.layers\.1\.mlp\.experts\.2\.down_proj\.weight, .*blk\.1\.ffn_gate_exps/,
    ],
    [
      (all) => [...without('q_norm')(all), like('model.nonsense', 'BF16')],
      /no name .* 1: model\.nonsense; none for 2: blk\.0\.attn_q_norm/,
    ],
    [
      reshaped('1.mlp.experts.2.up_proj.weight', [64, 250]),
      /others than config\.json tells of: 1: .*experts\.2\.up_proj\.weight \[64, 250\]/,
    ],
    [(all) => all, /none for 12: blk\.2\.attn_norm/, { num_hidden_layers: 3 }],
    [(all) => all, /no name .*experts\.3\./, { num_experts: 3 }],
    [
      (all) => [...all, like('model.layers.01.input_layernorm.weight', 'BF16', [256])],
      /no name .* 1: model\.layers\.01\./,
    ],
    [
      (all) => [...all, like(`${p}.qweight`, 'I32'), like(`${p}.g_idx`, 'I32')],
      /2: .*qweight \(I32\), .*; this is a checkpoint of gptq \(GPTQ or AWQ\)/,
      { quantization_config: { quant_method: 'gptq' } },
    ],
    [(all) => [...all, like(`${p}.SCB`, 'F32')], /checkpoint of bitsandbytes/],
    [(all) => [...all, like(`${p}.weight_packed`, 'I32')], /checkpoint of compressed-tensors/],
    [(all) => [...all, like(`${p}.weight_scale`, 'F32')], /checkpoint of FP8/],
  ]
  for (const [change, message, config] of cases) t.match(error(change, config), { message }, String(message))
  t.end()
})

void test('rows that are no whole heads are refused', async (t) => {
  const { hf } = await loadHf(goldenFolder('tiny-llama-f32'))
  const tensors = reshaped('0.self_attn.k_proj.weight', [31, 64])(hf.tensors)
  const message =
    /others than config\.json tells of: 1: model\.layers\.0\.self_attn\.k_proj\.weight \[31, 64\] for heads of 15\.5 rows/
  t.throws(() => planOf({ ...hf, tensors }), { code: 'APR_BAD_INDEX', message })
  const { hf: deepseek } = await loadHf(await writeTiny('tiny-deepseek-v3', t.testdir({})))
  const cut = reshaped('1.self_attn.kv_b_proj.weight', [220, 32])(deepseek.tensors)
  t.throws(() => planOf({ ...deepseek, tensors: cut }), {
    code: 'APR_BAD_INDEX',
    message: /kv_b_proj\.weight \[220, 32\]/,
  })
  t.end()
})

void test('what sees and hears, and frequencies that are made anew, are left out and told', async (t) => {
  const { hf } = await loadHf(await writeTiny('tiny-gemma-3-vision', t.testdir({})))
  const { dropped } = planTensors(readConfig(hf), hf, 'auto')
  t.equal(dropped.length, 3)
  const { hf: mixtral } = await loadHf(goldenFolder('Mixtral-3x400K-v0.1'))
  t.match(planTensors(readConfig(mixtral), mixtral, 'auto').dropped, [/rotary_emb\.inv_freq$/])
  t.end()
})
