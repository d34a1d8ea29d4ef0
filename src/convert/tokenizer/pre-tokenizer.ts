/** Which pre-tokenizer a vocabulary has: told, as the reference converter tells it, by what it makes of one text. */
import { Tokenizer } from '@huggingface/tokenizers'
import { sha256 } from '../../checksum/sha256.js'
import { AprError, printable } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'
import { byteAlphabet } from './byte-alphabet.js'
import { CHECK_TEXT, NAMES_BY_HASH, PRE_TOKENIZERS } from './pre-tokenizers.js'

/** What is used of the library: its own types lead nowhere. */
interface Encoder {
  encode(text: string): { readonly ids: number[] }
}

/**
 * The name of the pre-tokenizer.
 * @param given the name that was asked for, where one was
 * @throws AprError `APR_BAD_OPTION` for a name that llama.cpp does not know, `APR_UNSUPPORTED` for a vocabulary that is none
 *   of those that are known
 */
export function preTokenizer(tokenizer: JsonObject, config: JsonObject, given: string | undefined): string {
  if (given !== undefined) {
    if (PRE_TOKENIZERS.includes(given)) return given
    const what = `expected pre to be a pre-tokenizer that llama.cpp knows (${PRE_TOKENIZERS.join(', ')}), found ${printable(given)}`
    throw new AprError('APR_BAD_OPTION', what)
  }
  const hash = hashOf(tokenizer, config)
  const name = NAMES_BY_HASH[hash]
  if (name !== undefined) return name
  const what = `expected a tokenizer that is known, found one with the hash ${hash}; say with \`pre\` which pre-tokenizer it has: ${PRE_TOKENIZERS.join(', ')}`
  throw new AprError('APR_UNSUPPORTED', what)
}

function hashOf(tokenizer: JsonObject, config: JsonObject): string {
  let ids: number[]
  try {
    // eslint-disable-next-line @typescript-eslint/no-unsafe-call -- its types lead nowhere
    const runnable = new Tokenizer(withoutUnused(tokenizer), { ...config }) as unknown as Encoder
    ids = runnable.encode(CHECK_TEXT).ids
  } catch (cause) {
    const what = `expected a tokenizer.json that can be run, found one that fails (${printable((cause as Error).message)}); say with \`pre\` which pre-tokenizer it has`
    throw new AprError('APR_UNSUPPORTED', what, {}, { cause })
  }
  return sha256(new TextEncoder().encode(`[${ids.join(', ')}]`))
}

/** The texts of which a token of the check text can be part: bytes as GPT-2 writes them, or spaces as SentencePiece does. */
const ALL_BYTES = byteAlphabet.encode(CHECK_TEXT)
const WITH_MARKS = `\u2581${CHECK_TEXT.replaceAll(' ', '\u2581')}`

function canOccur(token: string): boolean {
  return (
    token.length <= 1 ||
    `\u0120${ALL_BYTES}`.includes(token) ||
    WITH_MARKS.includes(token) ||
    CHECK_TEXT.includes(token) ||
    /^<0x[0-9A-F]{2}>$/.test(token)
  )
}

/** The same tokenizer with those of its tokens that can come of the check text: all would take a hundred megabytes. */
function withoutUnused(tokenizer: JsonObject): object {
  const { model } = tokenizer
  if (!isFields(model) || !isFields(model['vocab'])) return { ...tokenizer }
  const special = new Set(addedTokens(tokenizer).map(({ content }) => content))
  if (typeof model['unk_token'] === 'string') special.add(model['unk_token'])
  const vocab: Record<string, unknown> = {}
  for (const token of Object.keys(model['vocab'])) {
    if (canOccur(token) || special.has(token)) vocab[token] = model['vocab'][token]
  }
  const all = Array.isArray(model['merges']) ? (model['merges'] as unknown[]) : []
  const merges = all.filter((merge) => {
    const parts = typeof merge === 'string' ? merge.split(' ') : (merge as string[])
    return canOccur(parts.join(''))
  })
  return { ...tokenizer, model: { ...model, vocab, merges } }
}

export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  readonly normalized: boolean
}

/** The tokens that stand beside the vocabulary. */
export function addedTokens(tokenizer: JsonObject): AddedToken[] {
  const added = tokenizer['added_tokens']
  if (!Array.isArray(added)) return []
  return added.filter(isFields).flatMap(({ id, content, special, normalized }) => {
    if (typeof id !== 'number' || typeof content !== 'string') return []
    return [{ id, content, special: special === true, normalized: normalized === true }]
  })
}
