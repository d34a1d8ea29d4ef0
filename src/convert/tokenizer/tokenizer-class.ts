/**
 * Classes of transformers that take the vocabulary out of `tokenizer.json` and nothing else: how they cut texts is their
 * own. The reference converter sees a tokenizer as transformers (5.23) loads it.
 */
import type { JsonObject } from '../json-file.js'
import type { AddedSources } from './added-tokens.js'

/** What a class puts in place of what tokenizer.json says. */
interface TokenizerClass {
  /** Tokens where the settings have no such key. */
  readonly tokens: JsonObject
  readonly parts: (settings: JsonObject) => JsonObject
  /** Whether all tokens that the settings name are special. */
  readonly marksSpecial?: boolean
}

const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const MARK = '\u2581'

const CLASSES: Readonly<Record<string, TokenizerClass>> = {
  Qwen2Tokenizer: {
    tokens: { unk_token: '<|endoftext|>', eos_token: '<|endoftext|>', pad_token: '<|endoftext|>' },
    marksSpecial: true,
    parts: ({ add_prefix_space: addsSpace }) => ({
      normalizer: { type: 'NFC' },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: QWEN_WORDS }, behavior: 'Isolated' },
          { type: 'ByteLevel', add_prefix_space: addsSpace === true, use_regex: false },
        ],
      },
      decoder: { type: 'ByteLevel' },
    }),
  },
  GPT2Tokenizer: {
    tokens: { unk_token: '<|endoftext|>', bos_token: '<|endoftext|>', eos_token: '<|endoftext|>' },
    parts: ({ add_prefix_space: addsSpace }) => ({
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: addsSpace === true },
      decoder: { type: 'ByteLevel' },
    }),
  },
  LlamaTokenizer: {
    tokens: { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' },
    parts: ({ add_prefix_space: addsSpace, legacy }) => ({
      normalizer: null,
      pre_tokenizer: {
        type: 'Metaspace',
        replacement: MARK,
        prepend_scheme: addsSpace === false ? 'never' : legacy === true ? 'always' : 'first',
        split: false,
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: MARK }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(addsSpace === false ? [] : [{ type: 'Strip', content: ' ', start: 1, stop: 0 }]),
        ],
      },
    }),
  },
  GemmaTokenizer: {
    tokens: { unk_token: '<unk>', bos_token: '<bos>', eos_token: '<eos>', pad_token: '<pad>', mask_token: '<mask>' },
    parts: () => ({
      normalizer: { type: 'Replace', pattern: { String: ' ' }, content: MARK },
      pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious' },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: MARK }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
        ],
      },
    }),
  },
}

/** Classes by `model_type` of config.json. `file` takes tokenizer.json as it is. */
const BY_MODEL: Readonly<Record<string, string>> = {
  ...{ qwen2: 'Qwen2Tokenizer', qwen3: 'Qwen2Tokenizer', qwen3_moe: 'Qwen2Tokenizer' },
  ...{ gemma3: 'GemmaTokenizer', gemma3_text: 'GemmaTokenizer', mistral: 'file', mixtral: 'file', phi3: 'file' },
}
/** Models whose settings are known to name wrong classes. */
const MISNAMED = ['qwen2', 'phi3']

/** The tokenizer as transformers loads it. */
export function loadTokenizer(tokenizer: JsonObject, settings: JsonObject, config: JsonObject): AddedSources {
  const name = classOf(tokenizer, settings, config)
  const own = name === undefined || !Object.hasOwn(CLASSES, name) ? undefined : CLASSES[name]
  if (!own) return { tokenizer, settings, isRebuilt: false, marksSpecial: false }
  const filled = { ...own.tokens, ...settings }
  return {
    tokenizer: { ...tokenizer, ...own.parts(settings) },
    settings: filled,
    isRebuilt: true,
    marksSpecial: own.marksSpecial === true,
  }
}

/** Its class of transformers; undefined where tokenizer.json is taken as it is. */
export function classOf(tokenizer: JsonObject, settings: JsonObject, config: JsonObject): string | undefined {
  const { model_type: modelType } = config
  const named = settings['tokenizer_class'] ?? config['tokenizer_class']
  const own = typeof named === 'string' ? named.replace(/Fast$/, '') : undefined
  const usual = typeof modelType === 'string' && Object.hasOwn(BY_MODEL, modelType) ? BY_MODEL[modelType] : undefined
  if (usual === 'file' || own === undefined || MISNAMED.includes(String(modelType))) return usual
  return own === 'LlamaTokenizer' && hasByteLevel(tokenizer) ? undefined : own
}

function hasByteLevel({ pre_tokenizer: preTokenizer, decoder, post_processor: postProcessor }: JsonObject): boolean {
  return JSON.stringify([preTokenizer, decoder, postProcessor]).includes('"ByteLevel"')
}
