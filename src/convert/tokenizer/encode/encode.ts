/** Runs a `tokenizer.json` on a short text, as the library tokenizers does. */
import { isFields } from '../../../model/found.js'
import type { JsonObject } from '../../json-file.js'
import type { AddedToken } from '../added-tokens.js'
import type { Merges } from '../sources/merges.js'
import type { Vocab } from '../sources/vocab.js'
import { encodeWords } from './byte-pairs.js'
import { listOf, normalize } from './normalizers.js'
import { words } from './splitters.js'

/** What stands beside the parts that say how texts are cut. */
export interface Beside {
  readonly vocab: Vocab
  readonly added: readonly AddedToken[]
  readonly merges: Merges
}

/** A piece of the text: cut still, or an added token. */
interface Piece {
  readonly text: string
  readonly id?: number
}

/**
 * Ids of a text, with those that a post-processor puts around it.
 * @throws AprError `APR_UNSUPPORTED` for a part of the tokenizer that is not known
 */
export function encode(tokenizer: JsonObject, { added, vocab, merges }: Beside, text: string): number[] {
  const { normalizer, pre_tokenizer: preTokenizer, model, post_processor: postProcessor } = tokenizer
  const isNormalized = (token: AddedToken): boolean => token.normalized
  const plain = added.filter((token) => !isNormalized(token))
  const inNormalized = added
    .filter(isNormalized)
    .map((token) => ({ ...token, content: normalize(normalizer, token.content) }))
  const pieces = cut({ text }, plain).flatMap((piece) =>
    piece.id === undefined ? cut({ text: normalize(normalizer, piece.text) }, inNormalized) : [piece],
  )
  const all = pieces.flatMap(({ text: part, id }, i): (string | number)[] =>
    id === undefined ? words(preTokenizer, part, i === 0) : [id],
  )
  return postProcess(postProcessor, encodeWords(isFields(model) ? model : {}, { vocab, merges }, all))
}

/** Cuts a text at the added tokens in it: the longest of those that begin first. */
function cut({ text }: Piece, added: readonly AddedToken[]): Piece[] {
  const longestFirst = added.filter(({ content }) => content !== '').sort((a, b) => b.content.length - a.content.length)
  const pieces: Piece[] = []
  let start = 0
  let at = 0
  while (at < text.length) {
    const token = longestFirst.find(({ content }) => text.startsWith(content, at))
    if (!token) {
      at++
      continue
    }
    const end = at + token.content.length
    if (
      token.singleWord &&
      (/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u.test(text.slice(0, at)) ||
        /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u.test(text.slice(end)))
    ) {
      at = end
      continue
    }
    const from = token.lstrip ? Math.max(start, text.slice(0, at).trimEnd().length) : at
    const to = token.rstrip ? text.length - text.slice(end).trimStart().length : end
    if (from > start) pieces.push({ text: text.slice(start, from) })
    pieces.push({ text: token.content, id: token.id })
    start = at = to
  }
  if (start < text.length) pieces.push({ text: text.slice(start) })
  return pieces
}

function postProcess(processor: unknown, ids: number[]): number[] {
  if (!isFields(processor)) return ids
  const { type, processors, single, special_tokens: table, cls, sep } = processor
  if (type === 'Sequence') return listOf(processors).reduce<number[]>((now, one) => postProcess(one, now), ids)
  if (type === 'RobertaProcessing' || type === 'BertProcessing') {
    return [Number(listOf(cls)[1]), ...ids, Number(listOf(sep)[1])]
  }
  if (type !== 'TemplateProcessing') return ids
  return listOf(single).flatMap((step) => {
    if (!isFields(step)) return []
    if (isFields(step['Sequence'])) return ids
    const token = isFields(step['SpecialToken']) ? step['SpecialToken']['id'] : undefined
    const entry = isFields(table) && typeof token === 'string' ? table[token] : undefined
    return isFields(entry) ? listOf(entry['ids']).map(Number) : []
  })
}
