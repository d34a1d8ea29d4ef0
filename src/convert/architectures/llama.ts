import { ropeFrequencies } from '../rope-freqs.js'
import type { Config } from '../config.js'
import { ATTENTION, COMMON_TENSORS, DENSE, EXPERTS, type Architecture, type ConfigDefaults } from './architecture.js'

const headDim = (config: Config): number => {
  return Math.floor(config.number('hidden_size') / config.number('num_attention_heads'))
}

const LLAMA: ConfigDefaults = {
  values: {
    ...{ max_position_embeddings: 2048, intermediate_size: 11008, num_hidden_layers: 32, rms_norm_eps: 1e-6 },
    vocab_size: 32000,
  },
  computed: { num_key_value_heads: (config) => config.number('num_attention_heads'), head_dim: headDim },
  theta: 10_000,
}

const MISTRAL: ConfigDefaults = {
  values: {
    ...{ max_position_embeddings: 131_072, intermediate_size: 14_336, num_hidden_layers: 32, rms_norm_eps: 1e-6 },
    ...{ num_key_value_heads: 8, vocab_size: 32000 },
  },
  computed: { head_dim: headDim },
  theta: 10_000,
}

const MIXTRAL: ConfigDefaults = {
  values: {
    ...{ max_position_embeddings: 131_072, intermediate_size: 14_336, num_hidden_layers: 32, rms_norm_eps: 1e-5 },
    ...{ num_key_value_heads: 8, vocab_size: 32000, num_local_experts: 8, num_experts_per_tok: 2 },
  },
  theta: 1_000_000,
}

const expertCount = (config: Config): number => config.optional('num_local_experts') ?? 0

/** Llama, Mistral and Mixtral: one architecture in GGUF, whose rope takes the rows of a head in another order. */
export const llama: Architecture = {
  classes: ['LlamaForCausalLM', 'LLaMAForCausalLM', 'MistralForCausalLM', 'MixtralForCausalLM', 'LlamaModel'],
  name: 'llama',
  tokenizer: 'llama',
  defaults: { llama: LLAMA, mistral: MISTRAL, mixtral: MIXTRAL },
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
    kvs.set('llama.vocab_size', 'u32', config.number('vocab_size'))
    kvs.set('llama.rope.dimension_count', 'u32', config.optional('head_dim') ?? headDim(config))
  },
  order(name, { shape }, config) {
    const heads = name.endsWith('.q_proj')
      ? config.number('num_attention_heads')
      : name.endsWith('.k_proj')
        ? (config.optional('num_key_value_heads') ?? config.number('num_attention_heads'))
        : undefined
    const [rows = 0, cols = 1] = shape
    return heads === undefined ? undefined : { kind: 'rope', rows: rows / heads, cols }
  },
  made(config) {
    if (String(config.rope['rope_type']).toLowerCase() !== 'llama3') return []
    const values = ropeFrequencies(config.optional('head_dim') ?? headDim(config), config.rope)
    return [{ name: 'rope_freqs.weight', values }]
  },
}
