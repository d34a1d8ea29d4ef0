/** A model of names and shapes at the edges of llama-quantize's rules. */
import { kv, type GgufModel } from '../../dist/formats/formats.js'
import type { TensorInfo } from '../../dist/model/tensor.js'
import { sized } from './golden-recipes.js'

const KEPT = [
  ...['attn_q_norm.weight', 'ffn_gate_inp.weight', 'ffn_gate_tid2eid.weight', 'altup_x.weight', 'laurel_r.weight'],
  ...['ssm_conv1d.weight', 'shortconv.conv.weight', 'indexer.k_proj.weight', 'indexer.q_proj.weight'],
  ...['time_mix_first.weight', 'time_mix_w0.weight', 'time_mix_v2.weight', 'time_mix_g1.weight'],
  ...['time_mix_decay_w2.weight', 'time_mix_lerp_fused.weight', 'attn_rel_b.weight', 'x.rel_pos.weight'],
]

const TOP = [
  ...[
    'abcde',
    'abcd',
    'äbcd',
    'äbcde',
    'weightx',
    'weight',
    'x.weights',
    'xweight',
    'output.weightx',
    'a.output.weight',
  ],
  ...['position_embd.weight', 'token_types.weight', 'v.position_embd.weight', 'a.token_types.weight', 'rope.weight'],
  ...[
    'v.sam.pos_embd.weight',
    'v.sam.neck.0.weight',
    'sam.net_2.weight',
    'v.patch_embd.weight',
    'mm.patch_merger.weight',
  ],
  ...['a.rvq.codebook.1.weight', 'mm.a.code_embd.weight', 'per_layer_model_proj.weight', 'time_mix_w3.weight'],
]

/** Layers as C reads numbers, and not in order. */
const LAYERED = [
  ...['blk.10.ffn_down.weight', 'blk.2.ffn_down.weight', 'blk.02.attn_v.weight', 'blk.+3.ffn_down.weight'],
  ...['blk.4x.attn_v.weight', 'blk.-5.attn_v.weight', 'blk.11.attn_qkv.weight', 'blk.x.attn_output.weight'],
  ...['enc.blk.0.attn_v.weight', 'blk.0.cross_attn_v.weight', 'blk.1.attn_v.weight.x', 'blk.6.my_ffn_downs.weight'],
  ...['blk.7.ffn_down_exps.weight', 'blk.8.attn_k.weight', 'blk.9.attn_kv_b.weight', 'blk.9.ffn_gate_up.weight'],
]

const SHAPED: readonly TensorInfo[] = [
  [[1, 64, 256], 'flat'],
  [[1, 1, 256], 'one_row'],
  [[2, 64, 256], 'stacked'],
  [[2, 1, 256], 'rows_of_one'],
  [[64, 48], 'attn_v'],
  [[64, 96], 'ffn_down'],
  [[64, 1], 'attn_output'],
  [[3, 100], 'ffn_up'],
  [[512], 'attn_q'],
].map(([shape, name], i) => sized(`blk.${i}.${String(name)}.weight`, 'F32', shape as number[]))

export function oddModel(): GgufModel {
  const named = [...TOP, ...LAYERED, ...KEPT.map((name) => `blk.3.${name}`)]
  const tensors = [
    sized('token_embd.weight', 'F16', [64, 256]),
    sized('per_layer_token_embd.weight', 'F16', [64, 512]),
    ...named.map((name) => sized(name, 'F16', [64, 256])),
    ...SHAPED,
  ]
  const kvs = [
    kv('general.architecture', 'string', 'llama'),
    kv('llama.block_count', 'u32', 17),
    kv('llama.context_length', 'u32', 4096),
    kv('llama.embedding_length', 'u32', 256),
    kv('llama.feed_forward_length', 'u32', 256),
    kv('llama.attention.head_count', 'u32', 8),
    kv('llama.attention.head_count_kv', 'u32', 2),
    kv('llama.attention.layer_norm_rms_epsilon', 'f32', 1e-5),
  ]
  return { format: 'gguf', tensors, kvs }
}
