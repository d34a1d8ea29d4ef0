/** SentencePiece vocabularies: `tokenizer.model`, or `tokenizer.json` that holds one, as the tokens, scores and types of GGUF. */
import { AprError } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'
import { fileTokens, specialTexts, type AddedToken } from './added-tokens.js'
import { readPieces } from './sources/sentencepiece-model.js'
import type { Vocab } from './sources/vocab.js'
import { looksSpecial, TOKEN_TYPES } from './token-types.js'

const MARK = '\u2581'
/** Scores of tokens that are no pieces: of ids without a token, and of added ones. */
const UNUSED_SCORE = -10_000
const ADDED_SCORE = -1000

export interface ScoredVocabulary {
  readonly tokens: string[]
  readonly scores: number[]
  readonly types: number[]
}

export interface SentencePieceSources {
  readonly model: Uint8Array
  readonly addedTokens: JsonObject | undefined
  readonly tokenizerConfig: JsonObject | undefined
  /** tokenizer.json, where its added tokens count too: for Phi 3. */
  readonly tokenizer?: JsonObject | undefined
  readonly vocabSize: number | undefined
}

/**
 * Pieces by their ids, then what was added to them. Ids without a token are `[PAD{id}]`; tokens with too large an id are
 * left out, as the reference converter leaves them out, but for Phi 3.
 * @throws AprError `APR_BAD_METADATA` for a file that is no SentencePiece model
 */
export function sentencePieceVocabulary(sources: SentencePieceSources): ScoredVocabulary {
  const pieces = readPieces(sources.model)
  const isPlain = sources.tokenizer !== undefined
  const size = sources.vocabSize ?? pieces.length
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`)
  const scores = new Array<number>(size).fill(UNUSED_SCORE)
  const types = new Array<number>(size).fill(TOKEN_TYPES.unused)
  const set = (id: number, token: string, score: number, type: number): void => {
    if (id >= size && isPlain) throw tooLarge(id, size)
    if (!Number.isInteger(id) || id < 0 || id >= size) return
    tokens[id] = token
    scores[id] = score
    types[id] = type
  }
  for (const [id, { piece, score, type }] of pieces.entries()) {
    set(id, piece, score, type === TOKEN_TYPES.userDefined ? TOKEN_TYPES.normal : type)
  }
  for (const [token, id] of Object.entries(sources.addedTokens ?? {})) {
    set(Number(id), token, ADDED_SCORE, TOKEN_TYPES.userDefined)
  }
  const decoder = sources.tokenizerConfig?.['added_tokens_decoder']
  for (const [id, entry] of Object.entries(isFields(decoder) ? decoder : {})) {
    const { content, special } = isFields(entry) ? entry : {}
    if (typeof content !== 'string') continue
    const isControl = special === true || (!isPlain && looksSpecial(content))
    const text = isControl || isPlain ? content : content.replaceAll(MARK, ' ')
    set(Number(id), text, ADDED_SCORE, isControl ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined)
  }
  for (const { id, content, special } of sources.tokenizer ? fileTokens(sources.tokenizer) : []) {
    set(id, content, ADDED_SCORE, special ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined)
  }
  return { tokens, scores, types }
}

function tooLarge(id: number, size: number): AprError {
  const what = `expected token ids below vocab_size ${size} of config.json, found ${id}`
  return new AprError('APR_BAD_METADATA', what)
}

/** Whether `tokenizer.json` holds a SentencePiece vocabulary that falls back to bytes, as that of Llama 2 does. */
export function isSentencePieceJson({ model, decoder }: JsonObject): boolean {
  const { type, byte_fallback: fallsBack } = isFields(model) ? model : {}
  return type === 'BPE' && fallsBack === true && isFields(decoder) && decoder['type'] === 'Sequence'
}

/**
 * Such a vocabulary. It has no scores of its own.
 * @throws AprError `APR_BAD_METADATA` for ids that are not there
 */
export function sentencePieceJson(
  vocab: Vocab | undefined,
  settings: JsonObject,
  beside: readonly AddedToken[],
): ScoredVocabulary {
  const byId = new Map<number, string>()
  vocab?.each((place, id) => byId.set(id, vocab.stringAt(place)))
  const specials = specialTexts(settings)
  const tokens: string[] = []
  const types: number[] = []
  for (let id = 0; id < byId.size; id++) {
    const token = byId.get(id)
    if (token === undefined) {
      throw new AprError('APR_BAD_METADATA', `expected a token with the id ${id} in tokenizer.json, found none`)
    }
    const isByte = /^<0x[0-9A-Fa-f]{2}>$/.test(token)
    const isControl = specials.has(token)
    tokens.push(token)
    types.push(isByte ? TOKEN_TYPES.byte : isControl ? TOKEN_TYPES.control : TOKEN_TYPES.normal)
  }
  for (const { id, content } of [...beside].sort((a, b) => a.id - b.id)) {
    if (id < byId.size) continue
    tokens.push(content)
    types.push(specials.has(content) ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined)
  }
  return { tokens, types, scores: tokens.map(() => ADDED_SCORE) }
}
