/** What a tensor is for, and which tensors no recipe touches: both by parts of its name, as llama-quantize tells them. */
import type { TensorInfo } from '../model/tensor.js'
import { utf8Bytes } from '../model/utf8.js'

export type Category =
  | 'output'
  | 'token_embd'
  | 'attn_v'
  | 'attn_k'
  | 'attn_q'
  | 'attn_output'
  | 'ffn_up'
  | 'ffn_gate'
  | 'ffn_down'
  | 'other'

const EMBEDDINGS = ['token_embd.weight', 'per_layer_token_embd.weight']

/** The first that is part of the name counts. */
const PARTS: readonly (readonly [part: string, category: Category])[] = [
  // What holds the values too is as sensitive as they are.
  ['attn_qkv.weight', 'attn_v'],
  ['attn_kv_b.weight', 'attn_v'],
  ['attn_v.weight', 'attn_v'],
  ['attn_k.weight', 'attn_k'],
  ['attn_q.weight', 'attn_q'],
  ['attn_output.weight', 'attn_output'],
  ['ffn_up', 'ffn_up'],
  ['ffn_gate', 'ffn_gate'],
  ['ffn_down', 'ffn_down'],
]

export function categoryOf(name: string): Category {
  if (name === 'output.weight') return 'output'
  if (EMBEDDINGS.includes(name)) return 'token_embd'
  return PARTS.find(([part]) => name.includes(part))?.[1] ?? 'other'
}

/** Names with one of these parts stay as they are: small tensors, or such as are read in other ways. */
// prettier-ignore
const KEPT_PARTS: readonly (readonly [rule: string, parts: readonly string[]])[] = [
  ['a norm', ['_norm.weight']],
  ['it routes tokens to experts', ['ffn_gate_inp.weight', 'ffn_gate_tid2eid.weight']],
  ['small', [
    'altup', 'laurel', 'per_layer_model_proj', 'ssm_conv1d', 'shortconv.conv.weight',
    'indexer.k_proj.weight', 'indexer.q_proj.weight',
    ...[
      'first', 'w0', 'w1', 'w2', 'v0', 'v1', 'v2', 'a0', 'a1', 'a2', 'g1', 'g2', 'decay_w1', 'decay_w2', 'lerp_fused',
    ].map((part) => `time_mix_${part}.weight`),
  ]],
  ['positions', ['attn_rel_b.weight', '.position_embd', 'sam.pos_embd', '.rel_pos']],
  ['it sees or hears', [
    'sam.neck.', 'sam.net_', '.patch_embd', '.patch_merger', 'a.rvq.codebook', 'mm.a.code_embd',
  ]],
]

const KEPT_NAMES: Readonly<Record<string, string>> = {
  'position_embd.weight': 'positions',
  'token_types.weight': 'types of tokens',
}

/** Why no recipe touches a tensor; undefined where one may. */
export function keptBecause({ name, shape }: TensorInfo, leaveOutput: boolean): string | undefined {
  if (rankOf(shape) < 2) return 'less than two dimensions'
  if (!hasWeightSuffix(name)) return 'its name does not end in weight'
  if (leaveOutput && name === 'output.weight') return 'the output is left'
  if (Object.hasOwn(KEPT_NAMES, name)) return KEPT_NAMES[name]
  return KEPT_PARTS.find(([, parts]) => parts.some((part) => name.includes(part)))?.[0]
}

/** A name of exactly five bytes passes in llama-quantize, so it does here. */
function hasWeightSuffix(name: string): boolean {
  return name.endsWith('weight') || utf8Bytes(name) === 5
}

/** Dimensions, the first ones of 1 not counted. */
export function rankOf(shape: readonly number[]): number {
  const first = shape.findIndex((dimension) => dimension > 1)
  return first < 0 ? 1 : shape.length - first
}

/** The number that llama.cpp reads in a name that starts with `blk.`; -1 where there is none. */
export function layerOf(name: string): number {
  const digits = /^blk\.\s*([+-]?\d+)/.exec(name)?.[1]
  return digits === undefined ? -1 : Number(digits) | 0
}
