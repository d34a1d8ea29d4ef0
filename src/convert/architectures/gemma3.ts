import { isFields } from '../../model/found.js'
import { COMMON_FIELDS, isWholeHeads, type ConfigClass } from '../config/config-class.js'
import type { JsonObject } from '../json-file.js'
import { tokenizerFile } from '../tokenizer/sources/tokenizer-file.js'
import { COMMON_TENSORS, DENSE, QK_NORM_TENSORS, QK_NORMS, type Architecture } from './architecture.js'

const GEMMA3_TEXT: ConfigClass = {
  fields: {
    ...COMMON_FIELDS,
    tie_word_embeddings: ['bool', true],
    vocab_size: ['int', 262_208],
    hidden_size: ['int'],
    intermediate_size: ['int', 9216],
    num_hidden_layers: ['int', 26],
    num_key_value_heads: ['int', 4],
    head_dim: ['int', 256],
    max_position_embeddings: ['int', 131_072],
    rms_norm_eps: ['float', 1e-6],
    attention_bias: ['bool', false],
    attention_dropout: ['number?', 0],
    query_pre_attn_scalar: ['int', 256],
    sliding_window: ['int?', 4096],
    layer_types: ['list?'],
    final_logit_softcapping: ['float?', null],
    attn_logit_softcapping: ['float?', null],
    use_bidirectional_attention: ['bool?', false],
  },
  // Transformers halves the window of a model that looks both ways.
  isValid: (values) =>
    isWholeHeads(values) && (values['use_bidirectional_attention'] !== true || values['sliding_window'] !== null),
  theta: 1_000_000,
  rope: (raw) => {
    const own = isFields(raw['rope_parameters']) ? raw['rope_parameters'] : {}
    const scaling = raw['rope_scaling']
    if (isFields(scaling) && isFields(raw['rope_parameters']) && !isFields(own['full_attention'])) return undefined
    const full = { ...fieldsOf(own['full_attention']), ...fieldsOf(scaling) }
    return {
      ...own,
      full_attention: ropeOf(full, raw['rope_theta'], 1_000_000),
      sliding_attention: ropeOf(fieldsOf(own['sliding_attention']), raw['rope_local_base_freq'], 10_000),
    }
  },
}

const fieldsOf = (value: unknown): JsonObject => (isFields(value) ? value : {})

function ropeOf(own: JsonObject, outer: unknown, theta: number): JsonObject {
  return { rope_type: own['type'] ?? 'default', rope_theta: outer === undefined ? theta : outer, ...own }
}

/** Gemma 3: of a model that also sees the text is taken. */
export const gemma3: Architecture = {
  classes: ['Gemma3ForCausalLM', 'Gemma3ForConditionalGeneration'],
  name: 'gemma3',
  tokenizer: 'gemma',
  configs: { gemma3_text: GEMMA3_TEXT },
  tensors: {
    ...COMMON_TENSORS,
    ...QK_NORM_TENSORS,
    'model.layers.N.post_attention_layernorm': 'blk.N.post_attention_norm',
    'model.layers.N.pre_feedforward_layernorm': 'blk.N.ffn_norm',
    'model.layers.N.post_feedforward_layernorm': 'blk.N.post_ffw_norm',
  },
  required: () => [
    ...['attn_norm', 'attn_q', 'attn_k', 'attn_v', 'attn_output', ...QK_NORMS],
    ...['post_attention_norm', 'ffn_norm', 'post_ffw_norm', ...DENSE],
  ],
  hparams(kvs, config) {
    // Some are set again, where the common ones may lack them: those keep their places.
    kvs.set('gemma3.context_length', 'u32', config.optionalCount('max_position_embeddings') ?? 131_072)
    kvs.set('gemma3.attention.head_count', 'u32', config.optionalCount('num_attention_heads') ?? 8)
    kvs.set('gemma3.attention.layer_norm_rms_epsilon', 'f32', config.optionalNumber('rms_norm_eps') ?? 1e-6)
    kvs.set('gemma3.attention.key_length', 'u32', config.optionalCount('head_dim') ?? 256)
    kvs.set('gemma3.attention.value_length', 'u32', config.optionalCount('head_dim') ?? 256)
    const theta = config.fullRope['rope_theta']
    kvs.set('gemma3.rope.freq_base', 'f32', typeof theta === 'number' ? theta : 1_000_000)
    const cap = config.optionalNumber('final_logit_softcapping')
    if (cap) kvs.set('gemma3.final_logit_softcapping', 'f32', cap)
    if (config.values['sliding_window_pattern'] !== 1) {
      kvs.set('gemma3.attention.sliding_window', 'u32', config.count('sliding_window'))
    }
    kvs.set('gemma3.attention.head_count_kv', 'u32', config.optionalCount('num_key_value_heads') ?? 4)
  },
  /** Its norm multiplies by one more than the weight. */
  add: (name) => (name.endsWith('norm') ? 1 : undefined),
  /** Rows behind the vocabulary are nobody's. */
  embeddingRows(files) {
    if (files.has('tokenizer.model')) return undefined
    const tokenizer = tokenizerFile(files)
    const vocab = tokenizer?.vocab()
    const added = tokenizer?.json['added_tokens']
    return vocab && vocab.size + (Array.isArray(added) ? added.length : 0)
  },
}
