/** Byte-pair vocabularies: `tokenizer.json` as the tokens, types and merges of GGUF. */
import { textsKv, type Kv } from '../../formats/formats.js'
import { AprError, printable } from '../../model/errors.js'
import type { AddedToken } from './added-tokens.js'
import { decodeToken } from './encode/decode-token.js'
import type { TextRange, Vocab } from './sources/vocab.js'
import { looksSpecial, TOKEN_TYPES } from './token-types.js'

const MARK = '\u2581'

export interface Vocabulary {
  readonly tokens: Kv
  readonly types: number[]
}

/**
 * Tokens by their ids, 0 to `vocabSize - 1`; an id without one is `[PAD{id}]`.
 * @param key of the tokens
 * @param decoder that of tokenizer.json
 * @param vocabSize as config.json has it; undefined: as many as there are
 * @throws AprError `APR_BAD_METADATA` for an id that is too large, or of two tokens
 */
export function bpeVocabulary(
  key: string,
  vocab: Vocab,
  { added, decoder }: { readonly added: readonly AddedToken[]; readonly decoder: unknown },
  vocabSize: number | undefined,
): Vocabulary {
  const size = vocabSize ?? countIds(vocab, added)
  let largest = added.reduce((max, { id }) => Math.max(max, id), -1)
  vocab.each((_, id) => (largest = Math.max(largest, id)))
  if (largest >= size) {
    const what = `expected token ids below vocab_size ${size} of config.json, found ${largest} in tokenizer.json`
    throw new AprError('APR_BAD_METADATA', what)
  }
  // Where each token stands in the vocabulary, and the texts of those that do not.
  const places = new Uint32Array(size)
  const texts = new Map<number, string>()
  const types = new Array<number>(size).fill(TOKEN_TYPES.unused)
  const textOf = (id: number): string | undefined =>
    texts.get(id) ?? (places[id] ? vocab.stringAt(places[id]) : undefined)
  vocab.each((place, id) => {
    if (places[id]) throw twice(id, vocab.stringAt(places[id]), vocab.stringAt(place))
    places[id] = place
    types[id] = TOKEN_TYPES.normal
  })
  for (const token of added) {
    const known = textOf(token.id)
    if (known !== undefined && known !== token.content) throw twice(token.id, known, token.content)
    // What a token that is not normalized stands for, once encoded and decoded.
    const text = token.normalized ? token.content : decodeToken(decoder, token.content)
    const isControl = token.special || looksSpecial(text)
    texts.set(token.id, isControl ? text : text.replaceAll(MARK, ' '))
    types[token.id] = isControl ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined
  }
  const rangeOf = (id: number): Readonly<TextRange> => {
    const place = places[id]
    if (place && !texts.has(id)) return vocab.textAt(place)
    const source = new TextEncoder().encode(texts.get(id) ?? `[PAD${id}]`)
    return { source, start: 0, end: source.length }
  }
  return { tokens: tokensKv(key, size, rangeOf), types }
}

function countIds(vocab: Vocab, added: readonly AddedToken[]): number {
  const ids = new Set(added.map(({ id }) => id))
  vocab.each((_, id) => ids.add(id))
  return ids.size
}

function tokensKv(key: string, count: number, rangeOf: (id: number) => Readonly<TextRange>): Kv {
  let size = 0
  for (let id = 0; id < count; id++) {
    const { start, end } = rangeOf(id)
    size += end - start
  }
  return textsKv(key, { count, size }, (data, begin) => {
    for (let id = 0; id < count; id++) {
      const { source, start, end } = rangeOf(id)
      let to = begin(end - start)
      for (let at = start; at < end; at++) data[to++] = source[at] ?? 0
    }
  })
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
