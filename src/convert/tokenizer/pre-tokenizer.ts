/** Which pre-tokenizer a vocabulary has: told, as the reference converter tells it, by what it makes of one text. */
import { sha256 } from '../../checksum/sha256.js'
import { AprError, printable } from '../../model/errors.js'
import type { JsonObject } from '../json-file.js'
import { encode, type Beside } from './encode/encode.js'
import { CHECK_TEXT, NAMES_BY_HASH, PRE_TOKENIZERS } from './pre-tokenizers.js'

/**
 * A name that was asked for.
 * @throws AprError `APR_BAD_OPTION` for one that llama.cpp does not know
 */
export function checkPreTokenizer(given: string): string {
  if (PRE_TOKENIZERS.includes(given)) return given
  const what = `expected pre to be a pre-tokenizer that llama.cpp knows (${PRE_TOKENIZERS.join(', ')}), found ${printable(given)}`
  throw new AprError('APR_BAD_OPTION', what)
}

/**
 * The name of a vocabulary's pre-tokenizer.
 * @throws AprError `APR_UNSUPPORTED` for a vocabulary that is none of those that are known
 */
export function findPreTokenizer(tokenizer: JsonObject, beside: Beside): string {
  const ids = encode(tokenizer, beside, CHECK_TEXT)
  const hash = sha256(new TextEncoder().encode(`[${ids.join(', ')}]`))
  const name = NAMES_BY_HASH[hash]
  if (name !== undefined) return name
  const what = `expected a tokenizer that is known, found one with the hash ${hash}; say with \`pre\` which pre-tokenizer it has: ${PRE_TOKENIZERS.join(', ')}`
  throw new AprError('APR_UNSUPPORTED', what)
}
