/** Normalizers of `tokenizer.json`: what is done to a text before it is cut. */
import { AprError, printable } from '../../../model/errors.js'
import { isFields } from '../../../model/found.js'
import type { JsonObject } from '../../json-file.js'
import { toRegExp } from './regex.js'

/**
 * The text as the normalizer makes it.
 * @throws AprError `APR_UNSUPPORTED` for one that is not known
 */
export function normalize(normalizer: unknown, text: string): string {
  if (!isFields(normalizer)) return text
  switch (normalizer['type']) {
    case 'Sequence':
      return listOf(normalizer['normalizers']).reduce<string>((now, one) => normalize(one, now), text)
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return text.normalize(normalizer['type'])
    case 'Lowercase':
      return Array.from(text, (character) => character.toLowerCase()).join('')
    case 'StripAccents':
      return text.replace(/\p{M}/gu, '')
    case 'Strip':
      return strip(text, normalizer)
    case 'Prepend':
      return text === '' ? text : textOf(normalizer['prepend']) + text
    case 'Replace':
      return replace(text, normalizer)
    default:
      throw unknownPart('normalizer', normalizer['type'])
  }
}

function strip(text: string, { strip_left: left, strip_right: right }: JsonObject): string {
  const start = left === true ? text.trimStart() : text
  return right === true ? start.trimEnd() : start
}

/** Replaces every occurrence of a pattern: that of a normalizer, or of a decoder. */
export function replace(text: string, { pattern, content }: JsonObject): string {
  const { String: plain, Regex: regex } = isFields(pattern) ? pattern : {}
  if (typeof plain === 'string') return text.replaceAll(plain, () => textOf(content))
  return typeof regex === 'string' ? text.replace(toRegExp(regex), () => textOf(content)) : text
}

export function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : []
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

export function unknownPart(what: string, type: unknown): AprError {
  return new AprError(
    'APR_UNSUPPORTED',
    `expected a ${what} of tokenizer.json that is known, found ${printable(String(type))}`,
  )
}
