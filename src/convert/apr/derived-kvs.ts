/** The KVs of a model whose APR metadata have none: those that its other keys tell, where these are enough. */
import { arrayKv, kv, type Kv, type KvScalar, type ScalarType } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import { DTYPES } from '../../model/dtypes.js'
import type { TensorInfo } from '../../model/tensor.js'
import { TOKENIZER_ARRAYS } from './kv-json.js'

/** Architectures of which nothing but these keys must be known. Of a mixture of experts more must. */
const ARCHITECTURES = ['llama', 'qwen2', 'qwen3']
const QUANTIZATION_VERSION = 2

type Lookup = (key: string) => unknown

/** In the converter's order. */
const NUMBERS: readonly (readonly [string, string, ScalarType])[] = [
  ['num_layers', 'block_count', 'u32'],
  ['max_position_embeddings', 'context_length', 'u32'],
  ['hidden_size', 'embedding_length', 'u32'],
  ['intermediate_size', 'feed_forward_length', 'u32'],
  ['num_heads', 'attention.head_count', 'u32'],
  ['num_kv_heads', 'attention.head_count_kv', 'u32'],
  ['rope_theta', 'rope.freq_base', 'f32'],
  ['rms_norm_eps', 'attention.layer_norm_rms_epsilon', 'f32'],
]

/** What `apr import` keeps of a tokenizer, and may be missing. */
const TOKENIZER: readonly (readonly [string, string, ScalarType])[] = [
  ['tokenizer.bos_token_id', 'tokenizer.ggml.bos_token_id', 'u32'],
  ['tokenizer.eos_token_id', 'tokenizer.ggml.eos_token_id', 'u32'],
  ['tokenizer.padding_token_id', 'tokenizer.ggml.padding_token_id', 'u32'],
  ['tokenizer.add_bos_token', 'tokenizer.ggml.add_bos_token', 'bool'],
  ['chat_template', 'tokenizer.chat_template', 'string'],
]

/**
 * @param metadata looks up a key of the metadata
 * @param tensors with GGUF's names
 * @throws AprError `APR_UNSUPPORTED` that lists what the metadata lack
 */
export function derivedKvs(metadata: Lookup, tensors: readonly TensorInfo[]): Kv[] {
  const architecture = metadata('architecture')
  const isKnown = typeof architecture === 'string' && ARCHITECTURES.includes(architecture)
  const experts = tensors.find(({ name }) => name.includes('_exps.'))
  if (!isKnown || experts) {
    const found = experts ? 'a mixture of experts' : isTold(architecture) ? String(architecture) : 'none'
    const what = `expected KVs of GGUF in the metadata, or one of the architectures ${ARCHITECTURES.join(', ')}, found ${found}`
    throw new AprError('APR_UNSUPPORTED', what)
  }
  const missing: string[] = []
  const need = (key: string, fits: (value: unknown) => boolean): unknown => {
    const value = metadata(key)
    if (!fits(value)) missing.push(key)
    return value
  }
  const numbers = NUMBERS.map(([key, name, type]) => {
    return kv(`${architecture}.${name}`, type, Number(need(key, (value) => typeof value === 'number')))
  })
  const heads = [Number(metadata('num_heads')), Number(metadata('num_kv_heads'))] as const
  const model = need('tokenizer.model', (value) => value === 'gpt2' || value === 'llama')
  const pre = need('tokenizer.pre_type', (value) => typeof value === 'string' || model === 'llama')
  const arrays = tokenizerArrays(need, model === 'llama', rowsOf(tensors, 'token_embd.weight'))
  const [keyLength, valueLength] = [headSize(tensors, 'attn_q', heads[0]), headSize(tensors, 'attn_v', heads[1])]
  if (!Number.isInteger(keyLength) || !Number.isInteger(valueLength))
    missing.push('heads that divide the rows of attn_q')
  if (missing.length > 0) {
    const what = `expected KVs of GGUF in the metadata, or all that they would tell, found none of ${missing.join(', ')}`
    throw new AprError('APR_UNSUPPORTED', what)
  }
  const name = metadata('name')
  const vocabulary = rowsOf(tensors, 'token_embd.weight')
  return [
    kv('general.architecture', 'string', architecture),
    kv('general.type', 'string', 'model'),
    ...(typeof name === 'string' && name !== '' ? [kv('general.name', 'string', name)] : []),
    ...numbers,
    kv(`${architecture}.attention.key_length`, 'u32', keyLength),
    kv(`${architecture}.attention.value_length`, 'u32', valueLength),
    ...(architecture === 'llama'
      ? [kv('llama.vocab_size', 'u32', vocabulary), kv('llama.rope.dimension_count', 'u32', keyLength)]
      : []),
    ...(tensors.some(({ dtype }) => DTYPES[dtype].kind === 'quantized')
      ? [kv('general.quantization_version', 'u32', QUANTIZATION_VERSION)]
      : []),
    kv('tokenizer.ggml.model', 'string', String(model)),
    kv('tokenizer.ggml.pre', 'string', typeof pre === 'string' ? pre : 'default'),
    ...arrays,
    ...TOKENIZER.flatMap(([key, kvKey, type]) => {
      const value = metadata(key)
      return isTold(value) ? [kv(kvKey, type, value as KvScalar)] : []
    }),
  ]
}

/** Tokens, their types, and merges or scores, each with one for every row of the embedding. */
function tokenizerArrays(
  need: (key: string, fits: (value: unknown) => boolean) => unknown,
  isSpm: boolean,
  rows: number,
): Kv[] {
  return Object.entries(TOKENIZER_ARRAYS).flatMap(([kvKey, { key, element }]) => {
    const isWanted = kvKey.endsWith('merges') ? !isSpm : !kvKey.endsWith('scores') || isSpm
    if (!isWanted) return []
    const type = element === 'string' ? 'string' : 'number'
    const fits = (value: unknown): boolean =>
      Array.isArray(value) &&
      (key === 'tokenizer.merges' || value.length === rows) &&
      value.every((one) => typeof one === type)
    const values = need(key, fits)
    return fits(values) ? [arrayKv(kvKey, element, values as KvScalar[])] : []
  })
}

function isTold(value: unknown): boolean {
  return value !== undefined && value !== null
}

function rowsOf(tensors: readonly TensorInfo[], name: string): number {
  return tensors.find((tensor) => tensor.name === name)?.shape[0] ?? 0
}

/** Rows of a head of the first layer. */
function headSize(tensors: readonly TensorInfo[], name: string, heads: number): number {
  return rowsOf(tensors, `blk.0.${name}.weight`) / heads
}
