import { elementCount } from '../../model/tensor.js'
import type { Config } from '../config/config.js'
import { allHeads, COMMON_FIELDS, type ConfigClass } from '../config/config-class.js'
import { COMMON_TENSORS, DENSE, EXPERT_TENSORS, EXPERTS, type Architecture } from './architecture.js'

const DEEPSEEK_V3: ConfigClass = {
  fields: {
    ...COMMON_FIELDS,
    vocab_size: ['int', 129_280],
    intermediate_size: ['int', 18_432],
    moe_intermediate_size: ['int', 2048],
    num_hidden_layers: ['int', 61],
    num_key_value_heads: ['int?', 128],
    n_shared_experts: ['int', 1],
    n_routed_experts: ['int', 256],
    output_router_logits: ['bool', false],
    routed_scaling_factor: ['float', 2.5],
    kv_lora_rank: ['int', 512],
    q_lora_rank: ['int?', 1536],
    qk_rope_head_dim: ['int', 64],
    v_head_dim: ['int?', 128],
    qk_nope_head_dim: ['int', 128],
    n_group: ['int?', 8],
    topk_group: ['int?', 4],
    num_experts_per_tok: ['int?', 8],
    first_k_dense_replace: ['int?', 3],
    norm_topk_prob: ['bool?', true],
    max_position_embeddings: ['int', 4096],
    rms_norm_eps: ['float', 1e-6],
    rope_interleave: ['bool?', true],
    attention_bias: ['bool', false],
    attention_dropout: ['number?', 0],
    pretraining_tp: ['int?', 1],
    num_mtp_layers: ['int', 1],
  },
  computed: { num_key_value_heads: allHeads, head_dim: ({ qk_rope_head_dim: rope }) => rope },
  aliases: { num_local_experts: 'n_routed_experts' },
  theta: 10_000,
}

const ARCH = 'deepseek2'

/** DeepSeek V3 and R1: latent attention, of which GGUF has the two halves of kv_b, that of the keys transposed. */
export const deepseek: Architecture = {
  classes: ['DeepseekV3ForCausalLM'],
  name: ARCH,
  tokenizer: 'bpe',
  configs: { deepseek_v3: DEEPSEEK_V3 },
  tensors: {
    ...COMMON_TENSORS,
    ...EXPERT_TENSORS,
    'model.layers.N.mlp.gate.e_score_correction': 'blk.N.exp_probs_b',
    'model.layers.N.mlp.shared_experts.gate_proj': 'blk.N.ffn_gate_shexp',
    'model.layers.N.mlp.shared_experts.up_proj': 'blk.N.ffn_up_shexp',
    'model.layers.N.mlp.shared_experts.down_proj': 'blk.N.ffn_down_shexp',
    'model.layers.N.self_attn.q_a_proj': 'blk.N.attn_q_a',
    'model.layers.N.self_attn.q_a_layernorm': 'blk.N.attn_q_a_norm',
    'model.layers.N.self_attn.q_b_proj': 'blk.N.attn_q_b',
    'model.layers.N.self_attn.kv_a_proj_with_mqa': 'blk.N.attn_kv_a_mqa',
    'model.layers.N.self_attn.kv_a_layernorm': 'blk.N.attn_kv_a_norm',
    'model.layers.N.self_attn.k_b_proj': 'blk.N.attn_k_b',
    'model.layers.N.self_attn.v_b_proj': 'blk.N.attn_v_b',
  },
  required(config, layer) {
    const isLow = config.optionalCount('q_lora_rank') !== undefined
    return [
      ...['attn_norm', 'attn_kv_a_mqa', 'attn_kv_a_norm', 'attn_k_b', 'attn_v_b', 'attn_output', 'ffn_norm'],
      ...(isLow ? ['attn_q_a', 'attn_q_a_norm', 'attn_q_b'] : ['attn_q']),
      ...(layer < denseLayers(config) ? DENSE : [...EXPERTS, ...(sharedExperts(config) > 0 ? SHARED : [])]),
    ]
  },
  experts: {
    prefix: 'mlp.experts',
    kinds: ['down_proj', 'gate_proj', 'up_proj'],
    count: (config) => config.optionalCount('n_routed_experts') ?? 0,
  },
  adjust: (values) => ({ rms_norm_eps: 1e-6, ...values, num_key_value_heads: 1 }),
  hparams(kvs, config) {
    const set = (key: string, value: number): void => kvs.set(`${ARCH}.${key}`, 'u32', value)
    const latent = config.values['kv_lora_rank'] === undefined ? 512 : config.count('kv_lora_rank')
    const rope = config.count('qk_rope_head_dim')
    set('leading_dense_block_count', denseLayers(config))
    set('vocab_size', config.count('vocab_size'))
    kvs.setIf(`${ARCH}.attention.q_lora_rank`, 'u32', config.optionalCount('q_lora_rank'))
    set('attention.kv_lora_rank', latent)
    set('attention.key_length', latent + rope)
    set('attention.value_length', latent)
    set('attention.key_length_mla', config.count('qk_nope_head_dim') + rope)
    set('attention.value_length_mla', config.count('v_head_dim'))
    set('expert_feed_forward_length', config.count('moe_intermediate_size', 'intermediate_size'))
    kvs.setIf(`${ARCH}.expert_count`, 'u32', config.optionalCount('n_routed_experts'))
    set('expert_shared_count', sharedExperts(config))
    kvs.setIf(`${ARCH}.expert_weights_scale`, 'f32', config.optionalNumber('routed_scaling_factor'))
    if (config.values['norm_topk_prob'] === true) kvs.set(`${ARCH}.expert_weights_norm`, 'bool', true)
    set('rope.dimension_count', rope)
    const scale = config.rope['mscale_all_dim']
    if (typeof scale === 'number') kvs.set(`${ARCH}.rope.scaling.yarn_log_multiplier`, 'f32', 0.1 * scale)
  },
  parts(name, source, config) {
    const match = /^(.*\.self_attn)\.kv_b_proj$/.exec(name)
    if (!match) return undefined
    const heads = config.count('num_key_value_heads')
    const keys = config.count('qk_nope_head_dim')
    const values = config.count('v_head_dim')
    const [rows = 0, latent = 0] = source.shape
    if (source.shape.length !== 2 || rows !== heads * (keys + values)) return 'misfit'
    const step = elementCount([keys + values, latent])
    const runs = (from: number, height: number): { from: number; elements: number }[] =>
      Array.from({ length: heads }, (_, head) => ({ from: head * step + from * latent, elements: height * latent }))
    const order = { kind: 'transpose', rows: keys, cols: latent } as const
    return [
      { name: `${match[1] ?? ''}.k_b_proj`, shape: [heads, latent, keys], runs: runs(0, keys), order },
      { name: `${match[1] ?? ''}.v_b_proj`, shape: [heads, values, latent], runs: runs(keys, values) },
    ]
  },
  /** Layers behind the last predict more tokens at once: the converter leaves them out. So it does a tied head. */
  drops(name, config) {
    const layer = /^model\.layers\.(\d+)/.exec(name)?.[1]
    if (layer !== undefined) return Number(layer) >= config.count('num_hidden_layers')
    return name === 'lm_head.weight' && config.values['tie_word_embeddings'] === true
  },
}

const SHARED = ['ffn_gate_shexp', 'ffn_up_shexp', 'ffn_down_shexp']

const sharedExperts = (config: Config): number => config.optionalCount('n_shared_experts') ?? 0

/** How many of the first layers have no experts. */
function denseLayers(config: Config): number {
  const hasExperts = config.optionalCount('n_routed_experts') !== undefined
  return config.optionalCount('first_k_dense_replace') ?? (hasExperts ? 0 : config.count('num_hidden_layers'))
}
