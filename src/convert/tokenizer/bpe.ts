/** Byte-pair vocabularies: `tokenizer.json` as the tokens, types and merges of GGUF. */
import { AprError, printable } from '../../model/errors.js'
import { found, isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'
import type { AddedToken } from './added-tokens.js'
import { decodeToken } from './encode/decode-token.js'
import { looksSpecial, TOKEN_TYPES } from './token-types.js'

const MARK = '\u2581'

export interface Vocabulary {
  readonly tokens: string[]
  readonly types: number[]
}

/**
 * Tokens by their ids, 0 to `vocabSize - 1`; an id without one is `[PAD{id}]`.
 * @param vocabSize as config.json has it; undefined: as many as there are
 * @throws AprError `APR_BAD_METADATA` for a vocabulary that is none, and for an id that is too large
 */
export function bpeVocabulary(
  { model, decoder }: JsonObject,
  beside: readonly AddedToken[],
  vocabSize: number | undefined,
): Vocabulary {
  const vocabulary = isFields(model) && isFields(model['vocab']) ? model['vocab'] : undefined
  if (!vocabulary)
    throw new AprError(
      'APR_UNSUPPORTED',
      'expected byte pairs with a vocabulary by text in tokenizer.json, found other ones',
    )
  const added = new Map(beside.map((token) => [token.content, token]))
  const ids = Object.values(vocabulary).concat(beside.map(({ id }) => id))
  const largest = ids.reduce<number>((max, id) => Math.max(max, idOf(id)), -1)
  const size = vocabSize ?? new Set(ids).size
  if (largest >= size) {
    const what = `expected token ids below vocab_size ${size} of config.json, found ${largest} in tokenizer.json`
    throw new AprError('APR_BAD_METADATA', what)
  }
  const tokens = new Array<string>(size)
  const types = new Array<number>(size).fill(TOKEN_TYPES.unused)
  for (const token of Object.keys(vocabulary)) {
    const id = idOf(vocabulary[token])
    if (tokens[id] !== undefined) throw twice(id, tokens[id], token)
    tokens[id] = token
    types[id] = TOKEN_TYPES.normal
  }
  for (const token of added.values()) {
    const known = tokens[token.id]
    if (known !== undefined && known !== token.content) throw twice(token.id, known, token.content)
    // What a token that is not normalized stands for, once encoded and decoded.
    const text = token.normalized ? token.content : decodeToken(decoder, token.content)
    const isControl = token.special || looksSpecial(text)
    tokens[token.id] = isControl ? text : text.replaceAll(MARK, ' ')
    types[token.id] = isControl ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined
  }
  for (let id = 0; id < size; id++) tokens[id] ??= `[PAD${id}]`
  return { tokens, types }
}

function idOf(id: unknown): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0) return id
  throw new AprError('APR_BAD_METADATA', `expected ids of tokens in tokenizer.json as integers, found ${found(id)}`)
}

function twice(id: number, first: string, second: string): AprError {
  const what = `expected one token with the id ${id} in tokenizer.json, found "${printable(first)}" and "${printable(second)}"`
  return new AprError('APR_BAD_METADATA', what)
}

/** The merges of `merges.txt`. */
export function mergesFile(text: string): string[] {
  return text
    .split('\n')
    .filter((line, i) => line.trim() !== '' && !(i === 0 && line.startsWith('#')))
    .map((line) => line.trim().split(/\s+/))
    .filter((parts) => parts.length === 2)
    .map((parts) => parts.join(' '))
}
