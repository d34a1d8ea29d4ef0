/** Hyperparameters as key-value pairs, in the reference converter's order. */
import { isFields } from '../model/found.js'
import type { Kv } from '../formats/formats.js'
import { Config } from './config/config.js'
import type { FoundConfig } from './config/read-config.js'
import { KvList } from './kv-list.js'

const GATING: Readonly<Record<string, number>> = { softmax: 1, sigmoid: 2, sqrtsoftplus: 4 }

/** What stands right behind `general.architecture`: mostly nothing. */
export function firstKvs({ architecture, config }: FoundConfig): Kv[] {
  const kvs = new KvList()
  architecture.firstKvs?.(kvs, config)
  config.checkComplete()
  return kvs.toArray()
}

/**
 * From `block_count` on, `general.file_type` among them.
 * @throws AprError `APR_BAD_METADATA` that lists all keys that are missing
 */
export function hparamKvs({ architecture, config: found }: FoundConfig, fileType: number): Kv[] {
  const { name, adjust, ownHparams, hparams } = architecture
  const kvs = new KvList()
  const config = adjust ? new Config(adjust(found.values)) : found
  if (ownHparams) ownHparams(kvs, config, fileType)
  else commonHparams(kvs, config, name, fileType)
  hparams?.(kvs, config)
  config.checkComplete()
  return kvs.toArray()
}

function commonHparams(kvs: KvList, config: Config, name: string, fileType: number): void {
  kvs.set(`${name}.block_count`, 'u32', config.count('num_hidden_layers'))
  kvs.set(`${name}.context_length`, 'u32', config.count('max_position_embeddings'))
  kvs.set(`${name}.embedding_length`, 'u32', config.count('hidden_size'))
  kvs.set(`${name}.feed_forward_length`, 'u32', config.count('intermediate_size'))
  kvs.set(`${name}.attention.head_count`, 'u32', config.count('num_attention_heads'))
  kvs.setIf(`${name}.attention.head_count_kv`, 'u32', config.optionalCount('num_key_value_heads'))
  if (config.values['is_causal'] === false) kvs.set(`${name}.attention.causal`, 'bool', false)
  ropeHparams(kvs, config, name)
  kvs.set(`${name}.attention.layer_norm_rms_epsilon`, 'f32', config.number('rms_norm_eps'))
  const experts = config.optionalCount('num_local_experts', 'num_experts', 'n_routed_experts')
  kvs.setIf(`${name}.expert_count`, 'u32', experts)
  kvs.setIf(`${name}.expert_used_count`, 'u32', config.optionalCount('num_experts_per_tok'))
  kvs.setIf(`${name}.expert_group_count`, 'u32', config.optionalCount('n_group'))
  kvs.setIf(`${name}.expert_group_used_count`, 'u32', config.optionalCount('topk_group'))
  kvs.setIf(`${name}.expert_gating_func`, 'u32', GATING[String(config.values['scoring_func'])])
  const headDim = config.optionalCount('head_dim')
  kvs.setIf(`${name}.attention.key_length`, 'u32', headDim)
  kvs.setIf(`${name}.attention.value_length`, 'u32', headDim)
  kvs.set('general.file_type', 'u32', fileType)
}

function ropeHparams(kvs: KvList, config: Config, name: string): void {
  const { rope: all, fullRope: rope } = config
  const number = (...keys: string[]): number | undefined => {
    const value = keys.map((key) => rope[key]).find((one) => one !== undefined)
    return typeof value === 'number' ? value : undefined
  }
  const scaling = `${name}.rope.scaling`
  const type = rope['rope_type']
  const factor = number('factor')
  if ((type === 'linear' || type === 'yarn') && factor !== undefined) {
    kvs.set(`${scaling}.type`, 'string', type)
    kvs.set(`${scaling}.factor`, 'f32', factor)
    if (type === 'yarn') {
      kvs.set(`${scaling}.original_context_length`, 'u32', config.ropeNumber('original_max_position_embeddings'))
      kvs.setIf(`${scaling}.yarn_ext_factor`, 'f32', number('extrapolation_factor'))
      kvs.setIf(`${scaling}.yarn_attn_factor`, 'f32', number('attention_factor', 'attn_factor'))
      kvs.setIf(`${scaling}.yarn_beta_fast`, 'f32', number('beta_fast'))
      kvs.setIf(`${scaling}.yarn_beta_slow`, 'f32', number('beta_slow'))
    }
  }
  if (type === 'su' || type === 'longrope') kvs.set(`${scaling}.type`, 'string', 'longrope')
  kvs.setIf(`${name}.rope.freq_base`, 'f32', number('rope_theta'))
  const sliding = all['sliding_attention']
  const local = isFields(sliding) ? sliding['rope_theta'] : undefined
  if (typeof local === 'number') kvs.set(`${name}.rope.freq_base_swa`, 'f32', local)
}
