/**
 * Tiny Hugging Face folders of the architectures that the golden ones do not have: random, the same on every machine. What
 * the converter of llama.cpp v0.5.0 makes of them stands in `test/fixtures/hf/tiny`.
 */
import { join } from 'node:path'
import fs from 'fs-extra'
import { randomBits } from './random.js'

type Shape = readonly number[]
/** Of a matrix the model's dtype, else F32 where it says so. */
type Tensors = Record<string, Shape | readonly ['F32', ...Shape]>

interface TinyModel {
  readonly dtype: 'BF16' | 'F16'
  readonly config: object
  readonly tokenizerClass?: string
  readonly tensors: Tensors
  /** Rows and columns that have one scale, where the weights of the layers are in FP8. */
  readonly fp8Block?: readonly [number, number]
}

const HIDDEN = 64
const COMMON = { hidden_size: HIDDEN, num_attention_heads: 4, vocab_size: 311, bos_token_id: 306, eos_token_id: 308 }

const layers = (count: number, of: (prefix: string, layer: number) => Tensors): Tensors => {
  return Object.assign({}, ...Array.from({ length: count }, (_, n) => of(`layers.${n}.`, n))) as Tensors
}

const prefixed = (prefix: string, tensors: Tensors): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, shape]) => [prefix + name, shape]))

const dense = (width: number): Tensors => ({
  'mlp.gate_proj.weight': [width, HIDDEN],
  'mlp.up_proj.weight': [width, HIDDEN],
  'mlp.down_proj.weight': [HIDDEN, width],
})

const gemma = (rows: number): Tensors => ({
  'embed_tokens.weight': [rows, HIDDEN],
  'norm.weight': [HIDDEN],
  ...layers(7, (prefix) =>
    prefixed(prefix, {
      ...dense(96),
      'input_layernorm.weight': [HIDDEN],
      'post_attention_layernorm.weight': [HIDDEN],
      'pre_feedforward_layernorm.weight': [HIDDEN],
      'post_feedforward_layernorm.weight': [HIDDEN],
      'self_attn.q_proj.weight': [128, HIDDEN],
      'self_attn.k_proj.weight': [32, HIDDEN],
      'self_attn.v_proj.weight': [32, HIDDEN],
      'self_attn.o_proj.weight': [HIDDEN, 128],
      'self_attn.q_norm.weight': [32],
      'self_attn.k_norm.weight': [32],
    }),
  ),
})

const GEMMA = { ...COMMON, model_type: 'gemma3_text', num_hidden_layers: 7, num_key_value_heads: 1, head_dim: 32 }

const phi = (rows: number): Tensors => ({
  'model.embed_tokens.weight': [rows, HIDDEN],
  'model.norm.weight': [HIDDEN],
  'lm_head.weight': [rows, HIDDEN],
  ...prefixed(
    'model.',
    layers(2, (prefix) =>
      prefixed(prefix, {
        'input_layernorm.weight': [HIDDEN],
        'post_attention_layernorm.weight': [HIDDEN],
        'self_attn.qkv_proj.weight': [128, HIDDEN],
        'self_attn.o_proj.weight': [HIDDEN, HIDDEN],
        'mlp.gate_up_proj.weight': [192, HIDDEN],
        'mlp.down_proj.weight': [HIDDEN, 96],
      }),
    ),
  ),
})

const PHI = {
  ...COMMON,
  architectures: ['Phi3ForCausalLM'],
  model_type: 'phi3',
  num_hidden_layers: 2,
  num_key_value_heads: 2,
}

const deepseekAttention = (isLow: boolean): Tensors => ({
  ...(isLow
    ? { 'q_a_proj.weight': [48, HIDDEN], 'q_a_layernorm.weight': [48], 'q_b_proj.weight': [224, 48] }
    : { 'q_proj.weight': [224, HIDDEN] }),
  'kv_a_proj_with_mqa.weight': [48, HIDDEN],
  'kv_a_layernorm.weight': [32],
  'kv_b_proj.weight': [4 * (40 + 24), 32],
  'o_proj.weight': [HIDDEN, 4 * 24],
})

const experts = (count: number): Tensors =>
  Object.fromEntries(
    Array.from({ length: count }, (_, expert) =>
      Object.entries({ gate: [32, HIDDEN], up: [32, HIDDEN], down: [HIDDEN, 32] }).map(
        ([kind, shape]) => [`mlp.experts.${expert}.${kind}_proj.weight`, shape] as const,
      ),
    ).flat(),
  )

const deepseek = (isLow: boolean): Tensors => ({
  'embed_tokens.weight': [311, HIDDEN],
  'norm.weight': [HIDDEN],
  ...layers(4, (prefix, layer) =>
    prefixed(prefix, {
      'input_layernorm.weight': [HIDDEN],
      'post_attention_layernorm.weight': [HIDDEN],
      ...prefixed('self_attn.', deepseekAttention(isLow)),
      ...(layer === 0 ? dense(96) : {}),
      ...(layer > 0 && {
        'mlp.gate.weight': [4, HIDDEN],
        'mlp.gate.e_score_correction_bias': ['F32', 4],
        'mlp.shared_experts.gate_proj.weight': [32, HIDDEN],
        'mlp.shared_experts.up_proj.weight': [32, HIDDEN],
        'mlp.shared_experts.down_proj.weight': [HIDDEN, 32],
        ...experts(4),
      }),
      // The layer behind the last predicts one more token.
      ...(layer === 3 && {
        'eh_proj.weight': [HIDDEN, 2 * HIDDEN],
        'enorm.weight': [HIDDEN],
        'hnorm.weight': [HIDDEN],
        'embed_tokens.weight': [311, HIDDEN],
        'shared_head.norm.weight': [HIDDEN],
        'shared_head.head.weight': [311, HIDDEN],
      }),
    }),
  ),
})

const DEEPSEEK = {
  ...COMMON,
  architectures: ['DeepseekV3ForCausalLM'],
  model_type: 'deepseek_v3',
  ...{ num_hidden_layers: 3, num_nextn_predict_layers: 1, num_key_value_heads: 4, intermediate_size: 96 },
  ...{
    moe_intermediate_size: 32,
    n_routed_experts: 4,
    n_shared_experts: 1,
    num_experts_per_tok: 2,
    n_group: 2,
    topk_group: 1,
  },
  ...{ first_k_dense_replace: 1, kv_lora_rank: 32, qk_rope_head_dim: 16, qk_nope_head_dim: 40, v_head_dim: 24 },
  ...{ routed_scaling_factor: 2.5, norm_topk_prob: true, scoring_func: 'sigmoid', topk_method: 'noaux_tc' },
  ...{ max_position_embeddings: 163_840, rms_norm_eps: 1e-6, rope_theta: 10_000 },
}

const FACTORS = [1, 1.0625, 1.5, 2.25, 4, 8.125, 16.5, 31.75]

export const TINY: Readonly<Record<string, TinyModel>> = {
  'tiny-gemma-3-270k': {
    dtype: 'BF16',
    config: {
      ...GEMMA,
      architectures: ['Gemma3ForCausalLM'],
      ...{ intermediate_size: 96, max_position_embeddings: 32_768, rms_norm_eps: 1e-6, query_pre_attn_scalar: 32 },
      ...{ rope_theta: 1_000_000, rope_local_base_freq: 10_000, sliding_window: 512, sliding_window_pattern: 6 },
      ...{
        final_logit_softcapping: 30.5,
        attn_logit_softcapping: null,
        rope_scaling: { factor: 8, rope_type: 'linear' },
      },
    },
    // More rows than there are tokens.
    tensors: prefixed('model.', gemma(320)),
  },
  'tiny-gemma-3-vision': {
    dtype: 'F16',
    config: {
      architectures: ['Gemma3ForConditionalGeneration'],
      model_type: 'gemma3',
      text_config: { ...GEMMA, intermediate_size: 96, sliding_window: 512 },
      vision_config: { model_type: 'siglip_vision_model', hidden_size: 32, num_hidden_layers: 1 },
    },
    tensors: {
      ...prefixed('language_model.model.', gemma(311)),
      'multi_modal_projector.mm_input_projection_weight': [32, HIDDEN],
      'vision_tower.vision_model.embeddings.patch_embedding.bias': [32],
      'vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight': [64, 32],
    },
  },
  'Tiny-Phi-3-128k': {
    dtype: 'BF16',
    tokenizerClass: 'GPT2Tokenizer',
    config: {
      ...PHI,
      ...{ intermediate_size: 96, max_position_embeddings: 131_072, original_max_position_embeddings: 4096 },
      ...{ rms_norm_eps: 1e-5, rope_theta: 10_000, sliding_window: 262_144 },
      rope_scaling: { type: 'longrope', long_factor: FACTORS, short_factor: FACTORS.map((one) => 1 + one / 32) },
      tie_word_embeddings: false,
    },
    tensors: phi(311),
  },
  'tiny-phi-4': {
    dtype: 'BF16',
    tokenizerClass: 'GPT2Tokenizer',
    config: {
      ...PHI,
      intermediate_size: 96,
      max_position_embeddings: 16_384,
      rope_theta: 250_000,
      partial_rotary_factor: 0.75,
    },
    tensors: phi(311),
  },
  'tiny-deepseek-v3': {
    dtype: 'BF16',
    config: {
      ...DEEPSEEK,
      q_lora_rank: 48,
      rope_scaling: {
        ...{ type: 'yarn', factor: 40, original_max_position_embeddings: 4096, beta_fast: 32, beta_slow: 1 },
        ...{ mscale: 1, mscale_all_dim: 1 },
      },
    },
    tensors: { ...prefixed('model.', deepseek(true)), 'lm_head.weight': [311, HIDDEN] },
  },
  'tiny-deepseek-tied': {
    dtype: 'F16',
    config: { ...DEEPSEEK, q_lora_rank: null, norm_topk_prob: false, tie_word_embeddings: true },
    tensors: { ...prefixed('model.', deepseek(false)), 'lm_head.weight': [311, HIDDEN] },
  },
  'tiny-deepseek-fp8': {
    dtype: 'BF16',
    config: {
      ...DEEPSEEK,
      q_lora_rank: 48,
      quantization_config: { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [40, 24] },
    },
    tensors: { ...prefixed('model.', deepseek(true)), 'lm_head.weight': [311, HIDDEN] },
    fp8Block: [40, 24],
  },
  'tiny-llama-base': {
    dtype: 'F16',
    config: {
      ...COMMON,
      architectures: ['LlamaModel'],
      model_type: 'llama',
      ...{ num_hidden_layers: 11, num_key_value_heads: 2, intermediate_size: 96, attention_bias: true },
    },
    tensors: {
      'embed_tokens.weight': [311, HIDDEN],
      'norm.weight': [HIDDEN],
      ...layers(11, (prefix) =>
        prefixed(prefix, {
          ...dense(96),
          'input_layernorm.weight': [HIDDEN],
          'post_attention_layernorm.weight': [HIDDEN],
          'self_attn.q_proj.weight': [HIDDEN, HIDDEN],
          'self_attn.q_proj.bias': [HIDDEN],
          'self_attn.k_proj.weight': [32, HIDDEN],
          'self_attn.k_proj.bias': [32],
          'self_attn.v_proj.weight': [32, HIDDEN],
          'self_attn.v_proj.bias': [32],
          'self_attn.o_proj.weight': [HIDDEN, HIDDEN],
          'self_attn.o_proj.bias': [HIDDEN],
        }),
      ),
    },
  },
}

const TOKENIZER = 'test/fixtures/hf/small/models/golden-qwen3-f16'

/** Writes the folder of a tiny model. @returns its path */
export async function writeTiny(name: string, root: string): Promise<string> {
  const model = TINY[name]
  if (!model) throw new Error(`no model ${name}`)
  const folder = join(root, name)
  await fs.ensureDir(folder)
  await fs.copy(join(TOKENIZER, 'tokenizer.json'), join(folder, 'tokenizer.json'))
  const settings = (await fs.readJson(join(TOKENIZER, 'tokenizer_config.json'))) as object
  const tokenizerClass = model.tokenizerClass && { tokenizer_class: model.tokenizerClass }
  await fs.writeJson(join(folder, 'tokenizer_config.json'), { ...settings, ...tokenizerClass })
  await fs.writeJson(join(folder, 'config.json'), model.config, { spaces: 2 })
  await fs.writeFile(join(folder, 'model.safetensors'), safetensors(model))
  return folder
}

function safetensors({ dtype, tensors, fp8Block }: TinyModel): Uint8Array {
  const bits = randomBits(1)
  const header: Record<string, object> = {}
  const chunks: Uint8Array[] = []
  let at = 0
  const add = (name: string, own: ValueDType, shape: number[]): void => {
    const count = shape.reduce((product, one) => product * one, 1)
    const data = randomValues(own, count, bits)
    header[name] = { dtype: own, shape, data_offsets: [at, at + data.length] }
    chunks.push(data)
    at += data.length
  }
  for (const [name, given] of Object.entries(tensors)) {
    const shape = given.filter((one) => one !== 'F32') as number[]
    if (fp8Block && /layers.*_proj(_with_mqa)?\.weight$/.test(name)) {
      add(name, 'F8_E4M3', shape)
      add(
        `${name}_scale_inv`,
        'F32',
        shape.map((size, i) => Math.ceil(size / (fp8Block[i] ?? 1))),
      )
    } else add(name, given[0] === 'F32' ? 'F32' : dtype, shape)
  }
  const json = Buffer.from(JSON.stringify(header))
  const head = Buffer.alloc(8)
  head.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([head, json, ...chunks])
}

type ValueDType = 'BF16' | 'F16' | 'F32' | 'F8_E4M3'

/** From 2^-10 to 2^3, both signs; in FP8 all but NaN. */
function randomValues(dtype: ValueDType, count: number, bits: () => number): Uint8Array {
  if (dtype === 'F8_E4M3') return Uint8Array.from({ length: count }, () => (bits() & 0x80) | (bits() % 0x7f))
  const values =
    dtype === 'F32'
      ? Uint32Array.from({ length: count }, () => (((bits() & 0x807fffff) >>> 0) | ((117 + (bits() % 12)) << 23)) >>> 0)
      : Uint16Array.from({ length: count }, () => {
          const [random, exponent] = [bits(), bits() % 12]
          return dtype === 'BF16'
            ? (random & 0x807f) | ((117 + exponent) << 7)
            : (random & 0x83ff) | ((5 + exponent) << 10)
        })
  return new Uint8Array(values.buffer)
}
