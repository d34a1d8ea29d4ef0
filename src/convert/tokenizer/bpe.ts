/** Byte-pair vocabularies: `tokenizer.json` as the tokens, types and merges of GGUF. */
import { AprError } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'
import { byteAlphabet } from './byte-alphabet.js'
import { addedTokens } from './pre-tokenizer.js'
import { looksSpecial, TOKEN_TYPES } from './token-types.js'

const MARK = '\u2581'

export interface Vocabulary {
  readonly tokens: string[]
  readonly types: number[]
}

/**
 * Tokens by their ids, 0 to `vocabSize - 1`; an id without one is `[PAD{id}]`.
 * @throws AprError `APR_BAD_METADATA` for an id that is too large
 */
export function bpeVocabulary(tokenizer: JsonObject, vocabSize: number | undefined): Vocabulary {
  const { model } = tokenizer
  const vocabulary = isFields(model) && isFields(model['vocab']) ? model['vocab'] : {}
  const added = new Map(addedTokens(tokenizer).map((token) => [token.content, token]))
  const byId = new Map<number, string>()
  for (const token of Object.keys(vocabulary)) byId.set(Number(vocabulary[token]), token)
  for (const { id, content } of added.values()) byId.set(id, content)
  const largest = [...byId.keys()].reduce((max, id) => Math.max(max, id), -1)
  const size = vocabSize ?? byId.size
  if (largest >= size) {
    const what = `expected token ids below vocab_size ${size} of config.json, found ${largest} in tokenizer.json`
    throw new AprError('APR_BAD_METADATA', what)
  }
  const isByteLevel = hasByteLevelDecoder(tokenizer['decoder'])
  const tokens: string[] = []
  const types: number[] = []
  for (let id = 0; id < size; id++) {
    const token = byId.get(id)
    const own = token === undefined ? undefined : added.get(token)
    if (token === undefined) {
      tokens.push(`[PAD${id}]`)
      types.push(TOKEN_TYPES.unused)
    } else if (!own) {
      tokens.push(token)
      types.push(TOKEN_TYPES.normal)
    } else {
      // What a token that is not normalized stands for, once encoded and decoded.
      const text = own.normalized || !isByteLevel ? token : byteAlphabet.decode(token)
      const isControl = own.special || looksSpecial(text)
      tokens.push(isControl ? text : text.replaceAll(MARK, ' '))
      types.push(isControl ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined)
    }
  }
  return { tokens, types }
}

function hasByteLevelDecoder(decoder: unknown): boolean {
  if (!isFields(decoder)) return false
  const { type, decoders } = decoder
  return type === 'ByteLevel' || (type === 'Sequence' && Array.isArray(decoders) && decoders.some(hasByteLevelDecoder))
}

/**
 * The merges as texts of two parts; a space inside a part is written as U+0120.
 * @throws AprError `APR_BAD_METADATA` for merges of another form
 */
export function merges(tokenizer: JsonObject | undefined, mergesText: string | undefined): string[] {
  const model = tokenizer?.['model']
  const found = isFields(model) ? model['merges'] : undefined
  if (Array.isArray(found) && found.length > 0) return found.map(mergeOf)
  return (mergesText ?? '')
    .split('\n')
    .filter((line, i) => line.trim() !== '' && !(i === 0 && line.startsWith('#')))
    .map((line) => line.trim().split(/\s+/))
    .filter((parts) => parts.length === 2)
    .map((parts) => parts.join(' '))
}

function mergeOf(merge: unknown): string {
  if (typeof merge === 'string') return merge
  const [first, second, ...rest] = Array.isArray(merge) ? (merge as unknown[]) : []
  if (typeof first === 'string' && typeof second === 'string' && rest.length === 0) {
    return `${first.replaceAll(' ', '\u0120')} ${second.replaceAll(' ', '\u0120')}`
  }
  throw new AprError('APR_BAD_METADATA', 'expected merges of tokenizer.json as texts or pairs of texts, found others')
}
