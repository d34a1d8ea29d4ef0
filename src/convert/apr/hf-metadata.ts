/** What programs that run APR models look for in the metadata, from the files of a Hugging Face folder. */
import { isFields } from '../../model/found.js'
import { jsonFile, textFile, type JsonObject } from '../json-file.js'

type Files = ReadonlyMap<string, Uint8Array>
type Metadata = Record<string, unknown>

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
 * The keys of `apr import`, with its defaults; none of what the folder does not tell.
 * @throws AprError `APR_BAD_METADATA` for a config.json, a tokenizer.json or a tokenizer_config.json that is none
 */
export function hfMetadata(files: Files): Metadata {
  const config = jsonFile(files, 'config.json')
  return { ...(config && configMetadata(config)), ...tokenizerMetadata(files, config) }
}

function configMetadata(raw: JsonObject): Metadata {
  const config: JsonObject = isFields(raw['text_config']) ? { ...raw['text_config'], ...raw } : raw
  const rope = isFields(config['rope_parameters']) ? config['rope_parameters'] : {}
  const { model_type: family, architectures } = config
  const isNamed = typeof family === 'string'
  const counts = COUNTS.map(([key, names]) => {
    return [key, names.map((name) => config[name]).find((value) => Number.isSafeInteger(value) && Number(value) >= 0)]
  })
  return defined({
    ...(isNamed && { model_type: family, architecture: family, hf_model_type: family }),
    hf_architecture:
      Array.isArray(architectures) && typeof architectures[0] === 'string' ? architectures[0] : undefined,
    ...(Object.fromEntries(counts) as Metadata),
    rope_theta: firstNumber(config['rope_theta'], rope['rope_theta'], 10000),
    rope_type: isNamed && HALVES.test(family) ? ROPE_HALVES : ROPE_PAIRS,
    rms_norm_eps: firstNumber(config['rms_norm_eps'], config['layer_norm_epsilon'], config['layer_norm_eps'], 1e-6),
  })
}

/** Vocabulary and merges as texts, and the ids that start and end a sequence. */
function tokenizerMetadata(files: Files, config: JsonObject | undefined): Metadata {
  const tokenizer = jsonFile(files, 'tokenizer.json')
  const model = isFields(tokenizer?.['model']) ? tokenizer['model'] : {}
  const added = (Array.isArray(tokenizer?.['added_tokens']) ? tokenizer['added_tokens'] : []) as unknown[]
  const vocabulary = isFields(model['vocab']) ? vocabularyOf(model['vocab'], added, config?.['vocab_size']) : undefined
  const own = jsonFile(files, 'tokenizer_config.json')?.['chat_template']
  const chatTemplate = textFile(files, 'chat_template.jinja') ?? (typeof own === 'string' ? own : undefined)
  return defined({
    chat_template: chatTemplate,
    'tokenizer.model_type': typeof model['type'] === 'string' ? model['type'] : undefined,
    'tokenizer.bos_token_id': idOf(config?.['bos_token_id']) ?? addedId(added, /bos|^<s>$|^<\|startoftext\|>$/),
    'tokenizer.eos_token_id': idOf(config?.['eos_token_id']) ?? addedId(added, /eos|^<\/s>$|^<\|eot_id\|>$/),
    'tokenizer.vocab_size': vocabulary?.length,
    'tokenizer.vocabulary': vocabulary,
    'tokenizer.merges': Array.isArray(model['merges']) ? model['merges'].map(mergeText) : undefined,
  })
}

/** Ids above this are none of a tokenizer's: the list of tokens has a place for each. */
const MAX_TOKENS = 10_000_000

/** The tokens by id, as many as the model has rows for; ids without one are called `<unk>`, as by `apr import`. */
function vocabularyOf(vocab: JsonObject, added: readonly unknown[], size: unknown): string[] | undefined {
  const entries = [
    ...Object.entries(vocab),
    ...added.filter(isFields).map(({ content, id }) => [String(content), id] as const),
  ]
  const ids = entries.filter((entry): entry is [string, number] => idOf(entry[1]) !== undefined)
  const end = ids.reduce((highest, [, id]) => Math.max(highest, id + 1), Number.isSafeInteger(size) ? Number(size) : 0)
  if (ids.length === 0 || end > MAX_TOKENS) return undefined
  const tokens = Array<string>(end).fill('<unk>')
  for (const [token, id] of ids) tokens[id] = token
  return tokens
}

/** Of several ids in a configuration none is told: then `apr import` goes by the texts of added tokens, and so do we. */
function addedId(added: readonly unknown[], text: RegExp): number | undefined {
  return idOf(added.filter(isFields).find(({ content }) => typeof content === 'string' && text.test(content))?.['id'])
}

function mergeText(merge: unknown): string {
  return Array.isArray(merge) ? merge.join(' ') : String(merge)
}

function idOf(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && Number(value) >= 0 ? Number(value) : undefined
}

function firstNumber(...values: readonly unknown[]): number | undefined {
  return values.find((value): value is number => typeof value === 'number')
}

function defined(fields: Metadata): Metadata {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
