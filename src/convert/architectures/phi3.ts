import type { Config } from '../config/config.js'
import { allHeads, COMMON_FIELDS, headDimension, type ConfigClass } from '../config/config-class.js'
import { foldRope } from '../config/resolve.js'
import type { JsonObject } from '../json-file.js'
import { COMMON_TENSORS, type Architecture } from './architecture.js'

const PHI3: ConfigClass = {
  fields: {
    ...COMMON_FIELDS,
    vocab_size: ['int', 32_064],
    intermediate_size: ['int', 8192],
    num_hidden_layers: ['int', 32],
    num_key_value_heads: ['int?', null],
    resid_pdrop: ['number', 0],
    embd_pdrop: ['number', 0],
    max_position_embeddings: ['int', 4096],
    original_max_position_embeddings: ['int', 4096],
    rms_norm_eps: ['float', 1e-5],
    sliding_window: ['int?', null],
  },
  computed: { num_key_value_heads: allHeads },
  isValid: areFactorsWhole,
  theta: 10_000,
  rope: ropeOf,
}

function ropeOf(raw: JsonObject, values: JsonObject): JsonObject {
  const rope: JsonObject = { partial_rotary_factor: 1, ...foldRope(raw, values, PHI3) }
  const type = rope['rope_type']
  return { ...rope, rope_type: type === 'su' || type === 'yarn' ? 'longrope' : type }
}

/** Transformers refuses other kinds of rope, and factors that are not one for two dimensions. */
function areFactorsWhole(values: JsonObject): boolean {
  const rope = ropeOf(values, values)
  const factor = rope['partial_rotary_factor']
  const dimensions = Math.floor((headDimension(values) ?? 0) * (typeof factor === 'number' ? factor : 1))
  return (
    (rope['rope_type'] === 'default' || rope['rope_type'] === 'longrope') &&
    ['short_factor', 'long_factor']
      .map((key) => rope[key])
      .every((list) => list === undefined || list === null || isFactors(list, Math.floor(dimensions / 2)))
  )
}

function isFactors(list: unknown, count: number): list is number[] {
  return Array.isArray(list) && list.length === count && list.every((factor) => typeof factor === 'number')
}

const LONG = 'long_factor'
const contextLength = (config: Config): number => config.count('n_positions', 'max_position_embeddings')

/** Dimensions of a head that turn. */
function ropeDimensions(config: Config): number {
  const factor = config.rope['partial_rotary_factor']
  const width = Math.trunc((typeof factor === 'number' ? factor : 1) * config.count('hidden_size'))
  return Math.floor(width / config.count('num_attention_heads'))
}

/** Phi 3 and Phi 4. Query, key and value stay one matrix, gate and up too. */
export const phi3: Architecture = {
  classes: ['Phi3ForCausalLM'],
  name: 'phi3',
  tokenizer: 'phi',
  configs: { phi3: PHI3 },
  tensors: {
    'model.embed_tokens': COMMON_TENSORS['model.embed_tokens'],
    'model.norm': COMMON_TENSORS['model.norm'],
    lm_head: COMMON_TENSORS.lm_head,
    'model.layers.N.input_layernorm': 'blk.N.attn_norm',
    'model.layers.N.post_attention_layernorm': 'blk.N.ffn_norm',
    'model.layers.N.self_attn.qkv_proj': 'blk.N.attn_qkv',
    'model.layers.N.self_attn.o_proj': 'blk.N.attn_output',
    'model.layers.N.mlp.gate_up_proj': 'blk.N.ffn_up',
    'model.layers.N.mlp.down_proj': 'blk.N.ffn_down',
  },
  required: () => ['attn_norm', 'attn_qkv', 'attn_output', 'ffn_norm', 'ffn_up', 'ffn_down'],
  firstKvs(kvs, config) {
    if (config.rope[LONG] === undefined) return
    const original = config.ropeNumber('original_max_position_embeddings')
    const scale = contextLength(config) / original
    const isYarn = config.rope['rope_type'] === 'yarn'
    const longer = isYarn ? 0.1 * Math.log(scale) + 1 : Math.sqrt(1 + Math.log(scale) / Math.log(original))
    kvs.set('phi3.rope.scaling.attn_factor', 'f32', scale > 1 && original > 1 ? longer : 1)
  },
  ownHparams(kvs, config, fileType) {
    kvs.set('phi3.context_length', 'u32', contextLength(config))
    const original = config.ropeNumber('original_max_position_embeddings')
    kvs.set('phi3.rope.scaling.original_context_length', 'u32', original)
    kvs.set('phi3.embedding_length', 'u32', config.count('hidden_size'))
    kvs.set('phi3.feed_forward_length', 'u32', config.count('intermediate_size'))
    kvs.set('phi3.block_count', 'u32', config.count('num_hidden_layers'))
    kvs.set('phi3.attention.head_count', 'u32', config.count('num_attention_heads'))
    kvs.set('phi3.attention.head_count_kv', 'u32', config.count('num_key_value_heads'))
    kvs.set('phi3.attention.layer_norm_rms_epsilon', 'f32', config.number('rms_norm_eps'))
    kvs.set('phi3.rope.dimension_count', 'u32', ropeDimensions(config))
    kvs.set('phi3.rope.freq_base', 'f32', config.ropeNumber('rope_theta'))
    kvs.set('general.file_type', 'u32', fileType)
    kvs.set('phi3.attention.sliding_window', 'u32', config.optionalCount('sliding_window') ?? 0)
  },
  /** Factors of the frequencies, for contexts longer than that of the training and for others. */
  made(config) {
    if (config.rope[LONG] === undefined) return []
    return [LONG, 'short_factor'].map((key) => {
      const list = config.rope[key]
      const values = isFactors(list, ropeDimensions(config) / 2) ? Float32Array.from(list) : undefined
      if (!values) config.ropeNumber(`${key} (${ropeDimensions(config) / 2} of them)`)
      return { name: `rope_factors_${key.slice(0, -'_factor'.length)}.weight`, values: values ?? new Float32Array(0) }
    })
  },
}
