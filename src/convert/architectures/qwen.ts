import type { Config } from '../config/config.js'
import { allHeads, COMMON_FIELDS, type ConfigClass } from '../config/config-class.js'
import {
  ATTENTION,
  COMMON_TENSORS,
  DENSE,
  EXPERT_TENSORS,
  EXPERTS,
  QK_NORM_TENSORS,
  QK_NORMS,
  type Architecture,
  type TensorPart,
} from './architecture.js'

const QWEN2: ConfigClass = {
  fields: {
    ...COMMON_FIELDS,
    vocab_size: ['int', 151_936],
    intermediate_size: ['int', 22_016],
    num_hidden_layers: ['int', 32],
    num_key_value_heads: ['int?', 32],
    max_position_embeddings: ['int', 32_768],
    rms_norm_eps: ['float', 1e-6],
    use_sliding_window: ['bool', false],
    sliding_window: ['int?', 4096],
    max_window_layers: ['int', 28],
    layer_types: ['list?'],
  },
  computed: { num_key_value_heads: allHeads },
  theta: 10_000,
}

const QWEN3: ConfigClass = {
  ...QWEN2,
  fields: { ...QWEN2.fields, head_dim: ['int', 128], attention_bias: ['bool', false] },
}

const QWEN3_MOE: ConfigClass = {
  fields: {
    ...COMMON_FIELDS,
    vocab_size: ['int', 151_936],
    intermediate_size: ['int', 6144],
    num_hidden_layers: ['int', 24],
    num_key_value_heads: ['int', 4],
    max_position_embeddings: ['int', 32_768],
    rms_norm_eps: ['float', 1e-6],
    attention_bias: ['bool', false],
    use_sliding_window: ['bool', false],
    sliding_window: ['int?', 4096],
    decoder_sparse_step: ['int', 1],
    moe_intermediate_size: ['int', 768],
    num_experts_per_tok: ['int', 8],
    num_experts: ['int', 128],
    norm_topk_prob: ['bool', false],
    output_router_logits: ['bool', false],
    router_aux_loss_coef: ['float', 0.001],
    mlp_only_layers: ['list?', null],
  },
  aliases: { num_experts: 'num_local_experts' },
  theta: 10_000,
}

export const qwen2: Architecture = {
  classes: ['Qwen2ForCausalLM', 'Qwen2Model'],
  name: 'qwen2',
  tokenizer: 'sentencepiece',
  configs: { qwen2: QWEN2 },
  tensors: COMMON_TENSORS,
  required: () => [...ATTENTION, ...DENSE],
}

export const qwen3: Architecture = {
  classes: ['Qwen3ForCausalLM', 'Qwen3Model'],
  name: 'qwen3',
  tokenizer: 'sentencepiece',
  configs: { qwen3: QWEN3 },
  tensors: { ...COMMON_TENSORS, ...QK_NORM_TENSORS },
  required: () => [...ATTENTION, ...QK_NORMS, ...DENSE],
}

export const qwen3moe: Architecture = {
  classes: ['Qwen3MoeForCausalLM'],
  name: 'qwen3moe',
  tokenizer: 'bpe',
  configs: { qwen3_moe: QWEN3_MOE },
  tensors: { ...COMMON_TENSORS, ...QK_NORM_TENSORS, ...EXPERT_TENSORS },
  required: (config, layer) => [...ATTENTION, ...QK_NORMS, ...(isDense(config, layer) ? DENSE : EXPERTS)],
  experts: {
    prefix: 'mlp.experts',
    kinds: ['down_proj', 'gate_proj', 'up_proj'],
    count: (config) => config.count('num_local_experts', 'num_experts'),
  },
  hparams(kvs, config) {
    kvs.setIf('qwen3moe.expert_feed_forward_length', 'u32', config.optionalCount('moe_intermediate_size'))
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
