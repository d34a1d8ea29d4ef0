/** The tokenizer of a model's folder as the key-value pairs of GGUF, in the reference converter's order. */
import { arrayHead, type Kv } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import { jsonFile, textFile, type JsonObject } from '../json-file.js'
import { KvList } from '../kv-list.js'
import { bpeVocabulary, mergesFile } from './bpe.js'
import { addedTokens, specialTexts, type AddedSources } from './added-tokens.js'
import type { Merges } from './sources/merges.js'
import { checkPreTokenizer, findPreTokenizer } from './pre-tokenizer.js'
import {
  isSentencePieceJson,
  sentencePieceJson,
  sentencePieceVocabulary,
  type ScoredVocabulary,
} from './sentencepiece.js'
import { setSpecialTokens, type ChatTemplates, type SpecialSources } from './special-tokens.js'
import { classOf, loadTokenizer } from './tokenizer-class.js'
import { tokenizerFile, type TokenizerFile } from './sources/tokenizer-file.js'
import type { Vocab } from './sources/vocab.js'
import { vocabAndMerges } from './sources/vocab-and-merges.js'

/** How an architecture's vocabularies are looked for. */
export type TokenizerKind =
  /** `tokenizer.model` first, then a `tokenizer.json` that holds such a vocabulary, then byte pairs. */
  | 'llama'
  /** `tokenizer.model` first, then byte pairs. */
  | 'sentencepiece'
  /** The same, and no space is put before a text. */
  | 'gemma'
  /** `tokenizer.model`, unless the settings speak of GPT-2's. */
  | 'phi'
  /** Byte pairs. */
  | 'bpe'

export interface TokenizerOptions {
  readonly kind: TokenizerKind
  /** `vocab_size` of config.json. */
  readonly vocabSize: number | undefined
  readonly config: JsonObject
  /** The pre-tokenizer's name, where it is not to be found out. */
  readonly pre?: string | undefined
}

/** What one of the ways needs. */
interface Sources extends TokenizerOptions {
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly file: TokenizerFile | undefined
  readonly tokenizer: JsonObject | undefined
  readonly tokenizerConfig: JsonObject | undefined
}

/** Sixty times the largest vocabulary that there is: a file that says more would fill the memory with padding. */
const MAX_TOKENS = 2 ** 24

/** Tokens that frame a text to fill in. */
const CODE_LLAMA = { vocabSize: 32_016, types: ['prefix', 'suffix', 'middle', 'eot'], otherwise: { eot: 32_010 } }

/**
 * @param files those of the folder
 * @throws AprError `APR_UNSUPPORTED` for a vocabulary that is not known, `APR_BAD_METADATA` where there is none or it is
 *   broken
 */
export function tokenizerKvs(files: ReadonlyMap<string, Uint8Array>, options: TokenizerOptions): Kv[] {
  const file = tokenizerFile(files)
  const sources: Sources = {
    ...options,
    files,
    file,
    tokenizer: file?.json,
    tokenizerConfig: jsonFile(files, 'tokenizer_config.json'),
  }
  const { kind, tokenizer, tokenizerConfig, vocabSize } = sources
  if (vocabSize !== undefined && !(Number.isInteger(vocabSize) && vocabSize > 0 && vocabSize <= MAX_TOKENS)) {
    const what = `expected vocab_size of config.json to be an integer from 1 to ${MAX_TOKENS}, found ${vocabSize}`
    throw new AprError('APR_BAD_METADATA', what)
  }
  const kvs = new KvList()
  const spacePrefix = tokenizerConfig?.['add_prefix_space']
  if (kind === 'llama' && typeof spacePrefix === 'boolean') {
    kvs.set('tokenizer.ggml.add_space_prefix', 'bool', spacePrefix)
  }
  if (kind === 'llama' && files.has('tekken.json') && !tokenizer) {
    const what = 'expected tokenizer.json beside tekken.json, whose own form is not read, found none'
    throw new AprError('APR_UNSUPPORTED', what)
  }
  const isPieces = kind !== 'bpe' && !(kind === 'phi' && tokenizerConfig?.['tokenizer_class'] === 'GPT2Tokenizer')
  const pieces = isPieces ? files.get('tokenizer.model') : undefined
  if (pieces) setPieces(kvs, sources, pieces)
  else if (kind === 'phi' && isPieces) {
    throw new AprError('APR_BAD_METADATA', 'expected tokenizer.model beside config.json, found none')
  } else if (kind === 'llama' && tokenizer && isSentencePieceJson(tokenizer)) {
    setScored(kvs, sources, jsonPieces(sources, tokenizer, file?.vocab()))
  } else setBytePairs(kvs, sources)
  if (pieces && kind === 'gemma') kvs.set('tokenizer.ggml.add_space_prefix', 'bool', false)
  if (kind === 'llama' && vocabSize === CODE_LLAMA.vocabSize) setSpecial(kvs, sources, undefined, CODE_LLAMA)
  // Small models of Granite and SmolLM.
  if (kind === 'llama' && vocabSize === 49_152) kvs.set('tokenizer.ggml.add_bos_token', 'bool', false)
  return kvs.toArray()
}

function setPieces(kvs: KvList, sources: Sources, model: Uint8Array): void {
  const { files, kind, tokenizer, tokenizerConfig, vocabSize } = sources
  const vocabulary = sentencePieceVocabulary({
    model,
    addedTokens: jsonFile(files, 'added_tokens.json'),
    tokenizerConfig,
    ...(kind === 'phi' && { tokenizer: tokenizer ?? {} }),
    vocabSize,
  })
  setScored(kvs, sources, vocabulary)
}

function setScored(kvs: KvList, sources: Sources, { tokens, scores, types }: ScoredVocabulary): void {
  kvs.set('tokenizer.ggml.model', 'string', 'llama')
  kvs.set('tokenizer.ggml.pre', 'string', 'default')
  kvs.setArray('tokenizer.ggml.tokens', 'string', tokens)
  kvs.setArray('tokenizer.ggml.scores', 'f32', scores)
  kvs.setArray('tokenizer.ggml.token_type', 'i32', types)
  setSpecial(kvs, sources, tokens.length)
}

function setBytePairs(kvs: KvList, sources: Sources): void {
  const { files, vocabSize, pre } = sources
  const settings = settingsOf(sources)
  const file = sources.file ?? vocabAndMerges(files, settings, classOf({}, settings, sources.config))
  if (!file) {
    const what = 'expected tokenizer.json or tokenizer.model beside config.json, found neither'
    throw new AprError('APR_BAD_METADATA', what)
  }
  const name = pre === undefined ? undefined : checkPreTokenizer(pre)
  const loaded = load(sources, file.json)
  const vocab = file.vocab()
  if (!vocab) {
    const what = 'expected byte pairs with a vocabulary by text in tokenizer.json, found other ones'
    throw new AprError('APR_UNSUPPORTED', what)
  }
  const added = addedTokens(loaded, vocab)
  const { decoder } = loaded.tokenizer
  const { tokens, types } = bpeVocabulary('tokenizer.ggml.tokens', vocab, { added, decoder }, vocabSize)
  kvs.set('tokenizer.ggml.model', 'string', 'gpt2')
  kvs.set(
    'tokenizer.ggml.pre',
    'string',
    name ?? findPreTokenizer(loaded.tokenizer, { added, vocab, merges: file.merges }),
  )
  kvs.add(tokens)
  kvs.setArray('tokenizer.ggml.token_type', 'i32', types)
  setMerges(kvs, file.merges, textFile(files, 'merges.txt') ?? '')
  setSpecial(kvs, sources, undefined)
}

/** Those of merges.txt count where tokenizer.json has none. */
function setMerges(kvs: KvList, merges: Merges, text: string): void {
  const key = 'tokenizer.ggml.merges'
  const own = merges.toKv(key)
  const others = arrayHead(own).count > 0 ? [] : mergesFile(text)
  if (others.length > 0) kvs.setArray(key, 'string', others)
  else if (arrayHead(own).count > 0) kvs.add(own)
}

/** As transformers loads it. */
function load(sources: Sources, tokenizer: JsonObject): AddedSources {
  return loadTokenizer(tokenizer, settingsOf(sources), sources.config)
}

/** With the older ways to name tokens, which count where there is no newer one. */
function settingsOf({ files, file, tokenizerConfig = {} }: Sources): JsonObject {
  if (tokenizerConfig['added_tokens_decoder']) return tokenizerConfig
  const settings = { ...tokenizerConfig, ...jsonFile(files, 'special_tokens_map.json') }
  const added = file ? undefined : jsonFile(files, 'added_tokens.json')
  if (!added) return settings
  const special = specialTexts(settings)
  const listed = Object.entries(added).map(([content, id]) => {
    const isSpecial = special.has(content)
    return [String(id), { content, special: isSpecial, normalized: !isSpecial }]
  })
  return { ...settings, added_tokens_decoder: Object.fromEntries(listed) as JsonObject }
}

function jsonPieces(sources: Sources, tokenizer: JsonObject, vocab: Vocab | undefined): ScoredVocabulary {
  const loaded = load(sources, tokenizer)
  const found = sentencePieceJson(vocab, loaded.settings, addedTokens(loaded, vocab))
  const { vocabSize = found.tokens.length } = sources
  if (found.tokens.length === vocabSize) return found
  // llama.cpp wants a row of the embedding for each token, and no other; here nothing is padded.
  const what = `expected as many tokens in tokenizer.json as vocab_size ${vocabSize} of config.json, found ${found.tokens.length}`
  throw new AprError('APR_BAD_METADATA', what)
}

function setSpecial(
  kvs: KvList,
  { files, tokenizer, tokenizerConfig, config }: Sources,
  size: number | undefined,
  more: Pick<SpecialSources, 'types' | 'otherwise'> = {},
): void {
  setSpecialTokens(kvs, {
    tokenizer,
    tokenizerConfig,
    config,
    chatTemplates: chatTemplates(files),
    vocabSize: size,
    ...more,
  })
}

const MORE_TEMPLATES = /^additional_chat_templates\/(.+)\.jinja$/

function chatTemplates(files: ReadonlyMap<string, Uint8Array>): ChatTemplates {
  // Read as text: line ends become line feeds.
  const text = (file: string): string | undefined => textFile(files, file)?.replace(/\r\n?/g, '\n')
  const more = [...files.keys()].flatMap((file) => {
    const name = MORE_TEMPLATES.exec(file)?.[1]
    return name === undefined ? [] : [{ name, template: text(file) ?? '' }]
  })
  return { jinja: text('chat_template.jinja'), more, json: jsonFile(files, 'chat_template.json') }
}
