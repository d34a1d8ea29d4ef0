import type { Config } from '../config.js'
import {
  ATTENTION,
  COMMON_TENSORS,
  DENSE,
  EXPERT_TENSORS,
  EXPERTS,
  QK_NORM_TENSORS,
  type Architecture,
  type TensorPart,
} from './architecture.js'

const QWEN2_VALUES = {
  ...{ max_position_embeddings: 32_768, intermediate_size: 22_016, num_hidden_layers: 32, rms_norm_eps: 1e-6 },
  ...{ num_key_value_heads: 32, vocab_size: 151_936 },
}

const QK_NORMS = ['attn_q_norm', 'attn_k_norm']

export const qwen2: Architecture = {
  classes: ['Qwen2ForCausalLM', 'Qwen2Model'],
  name: 'qwen2',
  tokenizer: 'sentencepiece',
  defaults: { qwen2: { values: QWEN2_VALUES, theta: 10_000 } },
  tensors: COMMON_TENSORS,
  required: () => [...ATTENTION, ...DENSE],
}

export const qwen3: Architecture = {
  classes: ['Qwen3ForCausalLM', 'Qwen3Model'],
  name: 'qwen3',
  tokenizer: 'sentencepiece',
  defaults: { qwen3: { values: { ...QWEN2_VALUES, head_dim: 128 }, theta: 10_000 } },
  tensors: { ...COMMON_TENSORS, ...QK_NORM_TENSORS },
  required: () => [...ATTENTION, ...QK_NORMS, ...DENSE],
}

const MOE_VALUES = {
  ...{ max_position_embeddings: 32_768, intermediate_size: 6144, num_hidden_layers: 24, rms_norm_eps: 1e-6 },
  ...{ num_key_value_heads: 4, vocab_size: 151_936, num_local_experts: 128, num_experts_per_tok: 8 },
  moe_intermediate_size: 768,
}

export const qwen3moe: Architecture = {
  classes: ['Qwen3MoeForCausalLM'],
  name: 'qwen3moe',
  tokenizer: 'bpe',
  defaults: { qwen3_moe: { values: MOE_VALUES, aliases: { num_experts: 'num_local_experts' }, theta: 10_000 } },
  tensors: { ...COMMON_TENSORS, ...QK_NORM_TENSORS, ...EXPERT_TENSORS },
  required: (config, layer) => [...ATTENTION, ...QK_NORMS, ...(isDense(config, layer) ? DENSE : EXPERTS)],
  experts: {
    prefix: 'mlp.experts',
    kinds: ['down_proj', 'gate_proj', 'up_proj'],
    count: (config) => config.number('num_local_experts', 'num_experts'),
  },
  hparams(kvs, config) {
    kvs.setIf('qwen3moe.expert_feed_forward_length', 'u32', config.optional('moe_intermediate_size'))
  },
  /** Some checkpoints have all experts of a layer in one tensor, gate and up one behind the other. */
  parts(name, { shape }) {
    const match = /^(.*\.mlp\.experts)\.gate_up_proj$/.exec(name)
    const [experts = 0, rows = 0, cols = 0] = shape
    if (!match || shape.length !== 3 || rows % 2 !== 0) return undefined
    const half = (rows / 2) * cols
    return ['gate_proj', 'up_proj'].map((kind, i): TensorPart => {
      const runs = Array.from({ length: experts }, (_, e) => ({ from: (2 * e + i) * half, elements: half }))
      return { name: `${match[1] ?? ''}.${kind}`, shape: [experts, rows / 2, cols], runs }
    })
  },
}

/** Layers without experts: those that are listed, and all but every so many. */
function isDense({ values }: Config, layer: number): boolean {
  const only = values['mlp_only_layers']
  const step = values['decoder_sparse_step']
  if (Array.isArray(only) && only.includes(layer)) return true
  return typeof step === 'number' && step > 0 && (layer + 1) % step !== 0
}
