import { isFields } from '../../model/found.js'
import { jsonFile } from '../json-file.js'
import { COMMON_TENSORS, DENSE, QK_NORM_TENSORS, type Architecture } from './architecture.js'

/** Gemma 3, text. */
export const gemma3: Architecture = {
  classes: ['Gemma3ForCausalLM'],
  name: 'gemma3',
  tokenizer: 'gemma',
  defaults: {},
  tensors: {
    ...COMMON_TENSORS,
    ...QK_NORM_TENSORS,
    'model.layers.N.post_attention_layernorm': 'blk.N.post_attention_norm',
    'model.layers.N.pre_feedforward_layernorm': 'blk.N.ffn_norm',
    'model.layers.N.post_feedforward_layernorm': 'blk.N.post_ffw_norm',
  },
  required: () => [
    ...['attn_norm', 'attn_q', 'attn_k', 'attn_v', 'attn_output', 'attn_q_norm', 'attn_k_norm'],
    ...['post_attention_norm', 'ffn_norm', 'post_ffw_norm', ...DENSE],
  ],
  hparams(kvs, config) {
    const { values } = config
    kvs.set('gemma3.context_length', 'u32', config.optional('max_position_embeddings') ?? 131_072)
    kvs.set('gemma3.attention.head_count', 'u32', config.optional('num_attention_heads') ?? 8)
    kvs.set('gemma3.attention.layer_norm_rms_epsilon', 'f32', config.optional('rms_norm_eps') ?? 1e-6)
    kvs.set('gemma3.attention.key_length', 'u32', config.optional('head_dim') ?? 256)
    kvs.set('gemma3.attention.value_length', 'u32', config.optional('head_dim') ?? 256)
    const full = config.rope['full_attention']
    const theta = (isFields(full) ? full : config.rope)['rope_theta']
    kvs.set('gemma3.rope.freq_base', 'f32', typeof theta === 'number' ? theta : 1_000_000)
    const cap = config.optional('final_logit_softcapping')
    if (cap) kvs.set('gemma3.final_logit_softcapping', 'f32', cap)
    if (values['sliding_window_pattern'] !== 1) {
      kvs.set('gemma3.attention.sliding_window', 'u32', config.number('sliding_window'))
    }
    kvs.set('gemma3.attention.head_count_kv', 'u32', config.optional('num_key_value_heads') ?? 4)
  },
  /** Its norm multiplies by one more than the weight. */
  add: (name) => (name.endsWith('norm') ? 1 : undefined),
  /** Rows behind the vocabulary are nobody's. */
  embeddingRows(files) {
    if (files.has('tokenizer.model')) return undefined
    const tokenizer = jsonFile(files, 'tokenizer.json')
    const model = tokenizer?.['model']
    const vocabulary = isFields(model) ? model['vocab'] : undefined
    const added = tokenizer?.['added_tokens']
    if (!isFields(vocabulary)) return undefined
    return Object.keys(vocabulary).length + (Array.isArray(added) ? added.length : 0)
  },
}
