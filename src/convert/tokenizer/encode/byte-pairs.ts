/** Joins the characters of words pair by pair, as a vocabulary's merges say. */
import type { JsonObject } from '../../json-file.js'
import type { Merges } from '../sources/merges.js'
import type { Vocab } from '../sources/vocab.js'
import { textOf } from './normalizers.js'

/**
 * The ids of words; what is an id stays.
 * @param model `model` of tokenizer.json, of the type BPE
 */
export function encodeWords(
  model: JsonObject,
  { vocab, merges }: { readonly vocab: Vocab; readonly merges: Merges },
  words: readonly (string | number)[],
): number[] {
  const texts = words.filter((word) => typeof word === 'string')
  const pairs = pairsOf(model, merges, texts)
  const idOf = (token: string): number | undefined => vocab.idOf(token)
  return words.flatMap((word) => {
    if (typeof word === 'number') return [word]
    const whole = model['ignore_merges'] === true ? idOf(word) : undefined
    if (whole !== undefined) return [whole]
    return join(symbols(model, word, idOf), pairs).flatMap((token) => idOf(token) ?? [])
  })
}

/** Ranks of the merges that the words can need, by the two parts with a line feed between them. */
function pairsOf(model: JsonObject, merges: Merges, words: readonly string[]): Map<string, number> {
  const parts = new Set<string>()
  const suffix = textOf(model['end_of_word_suffix'])
  for (const word of new Set(words)) {
    const whole = word + suffix
    for (let start = 0; start < whole.length; start++) {
      for (let end = start + 2; end <= whole.length; end++) parts.add(whole.slice(start, end))
    }
  }
  const pairs = new Map<string, number>()
  const prefix = textOf(model['continuing_subword_prefix'])
  // With a prefix the parts of a merge are not what it makes, side by side; and bytes stand in no word.
  const isPlain = prefix === '' && model['byte_fallback'] !== true
  merges.eachOf(isPlain ? parts : undefined, (left, right, rank) => {
    const joined = left + (right.startsWith(prefix) ? right.slice(prefix.length) : right)
    const isWanted = joined.startsWith('<0x') || parts.has(joined)
    if (isWanted && !pairs.has(`${left}\n${right}`)) pairs.set(`${left}\n${right}`, rank)
  })
  return pairs
}

/** What a word begins as: its characters, bytes of those that the vocabulary lacks, or its token for the unknown. */
function symbols(model: JsonObject, word: string, idOf: (token: string) => number | undefined): string[] {
  const characters = Array.from(word)
  const found: string[] = []
  const unknown = model['unk_token']
  let wasUnknown = false
  for (const [i, character] of characters.entries()) {
    const prefix = i > 0 ? textOf(model['continuing_subword_prefix']) : ''
    const suffix = i === characters.length - 1 ? textOf(model['end_of_word_suffix']) : ''
    const symbol = prefix + character + suffix
    const bytes = model['byte_fallback'] === true && idOf(symbol) === undefined ? bytesOf(symbol) : []
    const isUnknown =
      idOf(symbol) === undefined && (bytes.length === 0 || bytes.some((byte) => idOf(byte) === undefined))
    if (!isUnknown) found.push(...(bytes.length > 0 ? bytes : [symbol]))
    else if (typeof unknown === 'string' && !(wasUnknown && model['fuse_unk'] === true)) found.push(unknown)
    wasUnknown = isUnknown
  }
  return found
}

function bytesOf(text: string): string[] {
  return [...new TextEncoder().encode(text)].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
}

/** Joins the pair of the lowest rank, the first of several, until there is none. */
function join(tokens: string[], pairs: ReadonlyMap<string, number>): string[] {
  const rankAt = (i: number): number => pairs.get(`${tokens[i]}\n${tokens[i + 1]}`) ?? Infinity
  const ranks = tokens.map((_, i) => rankAt(i))
  for (;;) {
    let best = 0
    for (let i = 1; i < ranks.length; i++) if ((ranks[i] ?? Infinity) < (ranks[best] ?? Infinity)) best = i
    if ((ranks[best] ?? Infinity) === Infinity) return tokens
    tokens.splice(best, 2, `${tokens[best]}${tokens[best + 1]}`)
    ranks.splice(best, 1)
    ranks[best] = rankAt(best)
    if (best > 0) ranks[best - 1] = rankAt(best - 1)
  }
}
