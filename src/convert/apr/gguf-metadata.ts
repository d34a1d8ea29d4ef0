/** What programs that run APR models look for in the metadata, from the KVs of GGUF. */
import { findKv, kvValue, type Kv, type KvValue } from '../../formats/formats.js'

/** Keys of the metadata, and of the KVs behind the architecture's name that they are read from: whole numbers. */
export const COUNT_KEYS: readonly (readonly [string, string])[] = [
  ['hidden_size', 'embedding_length'],
  ['num_layers', 'block_count'],
  ['num_heads', 'attention.head_count'],
  ['num_kv_heads', 'attention.head_count_kv'],
  ['intermediate_size', 'feed_forward_length'],
  ['max_position_embeddings', 'context_length'],
  ['head_dim', 'attention.key_length'],
  ['num_experts', 'expert_count'],
  ['num_experts_per_tok', 'expert_used_count'],
  ['moe_intermediate_size', 'expert_feed_forward_length'],
]

/** The same for fractions. */
export const FRACTION_KEYS: readonly (readonly [string, string])[] = [
  ['rope_theta', 'rope.freq_base'],
  ['rms_norm_eps', 'attention.layer_norm_rms_epsilon'],
]

/** Keys of the metadata that a KV of the tokenizer is written to as it is. */
export const TOKENIZER_KEYS: readonly (readonly [string, string])[] = [
  ['tokenizer.model', 'tokenizer.ggml.model'],
  ['tokenizer.pre_type', 'tokenizer.ggml.pre'],
  ['tokenizer.bos_token_id', 'tokenizer.ggml.bos_token_id'],
  ['tokenizer.eos_token_id', 'tokenizer.ggml.eos_token_id'],
  ['tokenizer.padding_token_id', 'tokenizer.ggml.padding_token_id'],
  ['tokenizer.add_bos_token', 'tokenizer.ggml.add_bos_token'],
  ['chat_template', 'tokenizer.chat_template'],
]

/** Architectures whose rotary embedding aprender takes for halves side by side (2), not for pairs (0). */
const HALVES = /^(qwen2|qwen2moe|qwen3|qwen3moe|phi2|phi3|gptneox)$/

/**
 * The keys of `apr import`; none of what the KVs do not tell.
 * @param arrays the tokenizer's arrays, decoded, by their keys in the metadata
 */
export function ggufMetadata(
  kvs: readonly Kv[],
  arrays: ReadonlyMap<string, readonly unknown[]>,
): Record<string, unknown> {
  const value = (key: string): KvValue | undefined => {
    const pair = findKv(kvs, key)
    return pair && pair.type !== 'array' ? kvValue(pair) : undefined
  }
  const architecture = value('general.architecture')
  const family = typeof architecture === 'string' ? architecture : ''
  const result: Record<string, unknown> = {
    ...(family !== '' && { model_type: family, architecture: family, rope_type: HALVES.test(family) ? 2 : 0 }),
    name: value('general.name'),
    license: value('general.license') ?? null,
    vocab_size: value(`${family}.vocab_size`) ?? arrays.get('tokenizer.vocabulary')?.length,
  }
  for (const [key, kvKey] of [...COUNT_KEYS, ...FRACTION_KEYS]) {
    const number = value(`${family}.${kvKey}`)
    if (typeof number === 'number' && Number.isFinite(number)) result[key] = number
  }
  result['num_kv_heads'] ??= result['num_heads']
  for (const [key, kvKey] of TOKENIZER_KEYS) result[key] = value(kvKey)
  return {
    ...result,
    ...Object.fromEntries(arrays),
    'tokenizer.vocab_size': arrays.get('tokenizer.vocabulary')?.length,
  }
}
