/**
 * What an architecture says of itself: which classes of Hugging Face are of it, what its tensors are called, and which
 * hyperparameters GGUF wants. A new one is a file with such an object, and a row in `architectures.ts`.
 */
import type { TensorInfo } from '../../model/tensor.js'
import type { Config } from '../config/config.js'
import type { ConfigClass } from '../config/config-class.js'
import type { JsonObject } from '../json-file.js'
import type { KvList } from '../kv-list.js'
import type { BlockOrder } from '../tensor-plan.js'
import type { TokenizerKind } from '../tokenizer/tokenizer.js'

/** Part of a source tensor that becomes a tensor, or a run in one. */
export interface TensorPart {
  /** The name that it has in the table of names. */
  readonly name: string
  readonly shape: readonly number[]
  /** Runs of the source, one behind the other in the target: first elements, and how many. */
  readonly runs: readonly { readonly from: number; readonly elements: number }[]
  readonly order?: BlockOrder
}

/** Experts that stand one by one in a layer, and become one tensor of each kind. */
export interface ExpertNames {
  /** Where they stand: `mlp.experts`. */
  readonly prefix: string
  /** What they are called there, in the order in which the stacked ones are written. */
  readonly kinds: readonly string[]
  readonly count: (config: Config) => number
}

export interface Architecture {
  /** As `architectures` of config.json has them; those without a head lack the prefix `model.`. */
  readonly classes: readonly string[]
  /** `general.architecture`. */
  readonly name: string
  readonly tokenizer: TokenizerKind
  /** Classes of configurations by `model_type`. */
  readonly configs: Readonly<Record<string, ConfigClass>>
  /**
   * Names of Hugging Face and of GGUF, without `.weight` or `.bias`; `N` stands for a layer's number. Experts have the
   * names of the stacked tensors.
   */
  readonly tensors: Readonly<Record<string, string>>
  /** GGUF's names of what a layer must have. */
  readonly required: (config: Config, layer: number) => string[]
  readonly experts?: ExpertNames
  /** What stands right behind `general.architecture`. */
  readonly firstKvs?: (kvs: KvList, config: Config) => void
  /** Adds and overwrites what this architecture has beside the common hyperparameters. */
  readonly hparams?: (kvs: KvList, config: Config) => void
  /** Where the common hyperparameters are not its own. */
  readonly ownHparams?: (kvs: KvList, config: Config, fileType: number) => void
  /** Changes the configuration from which the hyperparameters are read. */
  readonly adjust?: (values: JsonObject) => JsonObject
  /** How the rows of a tensor are ordered, by its name in the table. */
  order?(name: string, tensor: TensorInfo, config: Config): BlockOrder | undefined
  /** What a tensor is cut into; undefined: it stays whole. `misfit`: its shape is none that config.json tells of. */
  parts?(name: string, tensor: TensorInfo, config: Config): TensorPart[] | 'misfit' | undefined
  /** What is added to every element of a tensor. */
  add?(name: string): number | undefined
  /** Whether a tensor is left out. */
  drops?(name: string, config: Config): boolean
  /** Tensors that are made: values in f32, by GGUF's names. */
  made?(config: Config): { name: string; values: Float32Array }[]
  /** Rows of the embedding that are written; undefined: all. */
  embeddingRows?(files: ReadonlyMap<string, Uint8Array>): number | undefined
}

/** Names that most have. */
export const COMMON_TENSORS = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  'model.layers.N.input_layernorm': 'blk.N.attn_norm',
  'model.layers.N.post_attention_layernorm': 'blk.N.ffn_norm',
  'model.layers.N.self_attn.q_proj': 'blk.N.attn_q',
  'model.layers.N.self_attn.k_proj': 'blk.N.attn_k',
  'model.layers.N.self_attn.v_proj': 'blk.N.attn_v',
  'model.layers.N.self_attn.o_proj': 'blk.N.attn_output',
  'model.layers.N.mlp.gate_proj': 'blk.N.ffn_gate',
  'model.layers.N.mlp.up_proj': 'blk.N.ffn_up',
  'model.layers.N.mlp.down_proj': 'blk.N.ffn_down',
} as const

export const QK_NORM_TENSORS = {
  'model.layers.N.self_attn.q_norm': 'blk.N.attn_q_norm',
  'model.layers.N.self_attn.k_norm': 'blk.N.attn_k_norm',
} as const

export const EXPERT_TENSORS = {
  'model.layers.N.mlp.gate': 'blk.N.ffn_gate_inp',
  'model.layers.N.mlp.experts.gate_proj': 'blk.N.ffn_gate_exps',
  'model.layers.N.mlp.experts.up_proj': 'blk.N.ffn_up_exps',
  'model.layers.N.mlp.experts.down_proj': 'blk.N.ffn_down_exps',
} as const

/** Names of tensors that a layer has, in GGUF. */
export const ATTENTION = ['attn_norm', 'attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_norm']
export const QK_NORMS = ['attn_q_norm', 'attn_k_norm']
export const DENSE = ['ffn_gate', 'ffn_up', 'ffn_down']
export const EXPERTS = ['ffn_gate_inp', 'ffn_gate_exps', 'ffn_up_exps', 'ffn_down_exps']
