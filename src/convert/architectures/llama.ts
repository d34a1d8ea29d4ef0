import type { Config } from '../config/config.js'
import { allHeads, COMMON_FIELDS, headDimension, isWholeHeads, type ConfigClass } from '../config/config-class.js'
import { ropeFrequencies } from '../rope-freqs.js'
import { ATTENTION, COMMON_TENSORS, DENSE, EXPERTS, type Architecture } from './architecture.js'

const LLAMA: ConfigClass = {
  fields: {
    ...COMMON_FIELDS,
    vocab_size: ['int', 32_000],
    intermediate_size: ['int', 11_008],
    num_hidden_layers: ['int', 32],
    num_key_value_heads: ['int?', null],
    max_position_embeddings: ['int', 2048],
    rms_norm_eps: ['float', 1e-6],
    head_dim: ['int?', null],
    attention_bias: ['bool', false],
    attention_dropout: ['number?', 0],
    mlp_bias: ['bool', false],
    pretraining_tp: ['int?', 1],
  },
  computed: { head_dim: headDimension, num_key_value_heads: allHeads },
  isValid: isWholeHeads,
  theta: 10_000,
}

const MISTRAL: ConfigClass = {
  fields: {
    ...COMMON_FIELDS,
    vocab_size: ['int', 32_000],
    intermediate_size: ['int', 14_336],
    num_hidden_layers: ['int', 32],
    num_key_value_heads: ['int', 8],
    max_position_embeddings: ['int', 131_072],
    rms_norm_eps: ['float', 1e-6],
    head_dim: ['int?', null],
    sliding_window: ['int?', 4096],
  },
  computed: { head_dim: headDimension },
  theta: 10_000,
}

const MIXTRAL: ConfigClass = {
  fields: {
    ...MISTRAL.fields,
    rms_norm_eps: ['float', 1e-5],
    sliding_window: ['int?', null],
    num_experts_per_tok: ['int', 2],
    num_local_experts: ['int', 8],
    output_router_logits: ['bool', false],
    router_aux_loss_coef: ['float', 0.001],
    router_jitter_noise: ['float', 0],
  },
  aliases: { num_experts: 'num_local_experts' },
  theta: 1_000_000,
}

const expertCount = (config: Config): number => config.optionalCount('num_local_experts') ?? 0

const ropeDimensions = (config: Config): number => {
  return (
    config.optionalCount('head_dim') ?? Math.floor(config.count('hidden_size') / config.count('num_attention_heads'))
  )
}

/** Llama, Mistral and Mixtral: one architecture in GGUF, whose rope takes the rows of a head in another order. */
export const llama: Architecture = {
  classes: ['LlamaForCausalLM', 'LLaMAForCausalLM', 'MistralForCausalLM', 'MixtralForCausalLM', 'LlamaModel'],
  name: 'llama',
  tokenizer: 'llama',
  configs: { llama: LLAMA, mistral: MISTRAL, mixtral: MIXTRAL },
  tensors: {
    ...COMMON_TENSORS,
    'model.layers.N.block_sparse_moe.gate': 'blk.N.ffn_gate_inp',
    'model.layers.N.block_sparse_moe.experts.w1': 'blk.N.ffn_gate_exps',
    'model.layers.N.block_sparse_moe.experts.w2': 'blk.N.ffn_down_exps',
    'model.layers.N.block_sparse_moe.experts.w3': 'blk.N.ffn_up_exps',
  },
  required: (config) => [...ATTENTION, ...(expertCount(config) > 0 ? EXPERTS : DENSE)],
  experts: { prefix: 'block_sparse_moe.experts', kinds: ['w1', 'w2', 'w3'], count: expertCount },
  hparams(kvs, config) {
    kvs.set('llama.vocab_size', 'u32', config.count('vocab_size'))
    kvs.set('llama.rope.dimension_count', 'u32', ropeDimensions(config))
  },
  order(name, { shape }, config) {
    const heads = name.endsWith('.q_proj')
      ? config.count('num_attention_heads')
      : name.endsWith('.k_proj')
        ? (config.optionalCount('num_key_value_heads') ?? config.count('num_attention_heads'))
        : undefined
    const [rows = 0, cols = 1] = shape
    return heads === undefined ? undefined : { kind: 'rope', rows: rows / heads, cols }
  },
  made(config) {
    if (String(config.fullRope['rope_type']).toLowerCase() !== 'llama3') return []
    return [{ name: 'rope_freqs.weight', values: ropeFrequencies(ropeDimensions(config), config.fullRope) }]
  },
}
