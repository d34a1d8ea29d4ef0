/** What programs that run APR models look for in the metadata, from the files of a Hugging Face folder. */
import { isFields } from '../../model/found.js'
import { jsonFile, textFile, type JsonObject } from '../json-file.js'
import { idOf, tokenizerTexts, type AddedToken } from './tokenizer-texts.js'

type Files = ReadonlyMap<string, Uint8Array>
type Json = Map<string, string>

/** Keys of the metadata that are whole numbers, and the names that configurations have for them: the first counts. */
const COUNTS: readonly (readonly [string, readonly string[]])[] = [
  ['hidden_size', ['hidden_size', 'n_embd', 'n_embed', 'd_model']],
  ['num_layers', ['num_hidden_layers', 'n_layer', 'num_layers']],
  ['num_heads', ['num_attention_heads', 'n_head', 'num_heads']],
  ['num_kv_heads', ['num_key_value_heads', 'num_attention_heads', 'n_head', 'num_heads']],
  ['vocab_size', ['vocab_size']],
  ['intermediate_size', ['intermediate_size', 'n_inner', 'ffn_dim']],
  ['max_position_embeddings', ['max_position_embeddings', 'n_positions', 'n_ctx']],
  ['head_dim', ['head_dim']],
  ['num_experts', ['num_local_experts', 'num_experts', 'n_routed_experts']],
  ['num_experts_per_tok', ['num_experts_per_tok', 'num_experts_per_token']],
  ['moe_intermediate_size', ['moe_intermediate_size']],
]

/** Families whose rotary embedding aprender takes for halves side by side (2), not for pairs (0). */
const HALVES = /^(qwen|qwen2|qwen2\.5|qwen3|qwen3_5|qwen3\.5|phi|phi3|phi4|gpt-neox|gpt_neox|gptneox|pythia)$/
const ROPE_PAIRS = 0
const ROPE_HALVES = 2

/**
 * The keys of `apr import`, with its defaults, and the JSON text of their values; none of what the folder does not tell.
 * @param tokenizer the text of tokenizer.json
 * @throws AprError `APR_BAD_METADATA` for a config.json, a tokenizer.json or a tokenizer_config.json that is none
 */
export function hfMetadata(files: Files, tokenizer: string | undefined): Json {
  const config = jsonFile(files, 'config.json')
  return new Map([...(config ? configMetadata(config) : []), ...tokenizerMetadata(files, config, tokenizer)])
}

function configMetadata(raw: JsonObject): Json {
  const config: JsonObject = isFields(raw['text_config']) ? { ...raw['text_config'], ...raw } : raw
  const rope = isFields(config['rope_parameters']) ? config['rope_parameters'] : {}
  const { model_type: family, architectures } = config
  const isNamed = typeof family === 'string'
  const counts = COUNTS.map(([key, names]) => {
    return [key, names.map((name) => config[name]).find((value) => Number.isSafeInteger(value) && Number(value) >= 0)]
  })
  return jsonOf({
    ...(isNamed && { model_type: family, architecture: family, hf_model_type: family }),
    hf_architecture:
      Array.isArray(architectures) && typeof architectures[0] === 'string' ? architectures[0] : undefined,
    ...(Object.fromEntries(counts) as Readonly<Record<string, unknown>>),
    rope_theta: firstNumber(config['rope_theta'], rope['rope_theta'], 10000),
    rope_type: isNamed && HALVES.test(family) ? ROPE_HALVES : ROPE_PAIRS,
    rms_norm_eps: firstNumber(config['rms_norm_eps'], config['layer_norm_epsilon'], config['layer_norm_eps'], 1e-6),
  })
}

/** What `apr import` tells of a tokenizer: its vocabulary and merges, and the ids that start and end a sequence. */
function tokenizerMetadata(files: Files, config: JsonObject | undefined, tokenizer: string | undefined): Json {
  const texts = tokenizer === undefined ? undefined : tokenizerTexts(tokenizer, config?.['vocab_size'])
  const own = jsonFile(files, 'tokenizer_config.json')?.['chat_template']
  const added = texts?.added ?? []
  const result = jsonOf({
    chat_template: textFile(files, 'chat_template.jinja') ?? (typeof own === 'string' ? own : undefined),
    'tokenizer.model_type': texts?.modelType,
    'tokenizer.bos_token_id': idOf(config?.['bos_token_id']) ?? addedId(added, /bos|^<s>$|^<\|startoftext\|>$/),
    'tokenizer.eos_token_id': idOf(config?.['eos_token_id']) ?? addedId(added, /eos|^<\/s>$|^<\|eot_id\|>$/),
    'tokenizer.vocab_size': texts?.vocabulary?.count,
  })
  if (texts?.vocabulary) result.set('tokenizer.vocabulary', texts.vocabulary.json)
  if (texts?.merges !== undefined) result.set('tokenizer.merges', texts.merges)
  return result
}

/** Of several ids in a configuration none is told: then `apr import` goes by the texts of added tokens, and so do we. */
function addedId(added: readonly AddedToken[], text: RegExp): number | undefined {
  return added.find(({ content }) => text.test(content))?.id
}

function firstNumber(...values: readonly unknown[]): number | undefined {
  return values.find((value): value is number => typeof value === 'number')
}

/** By key the JSON text of each value that is known. */
export function jsonOf(fields: Readonly<Record<string, unknown>>): Map<string, string> {
  const known = Object.entries(fields).filter(([, value]) => value !== undefined)
  return new Map(known.map(([key, value]) => [key, JSON.stringify(value)]))
}
