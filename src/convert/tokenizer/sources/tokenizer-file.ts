/**
 * `tokenizer.json`, without its merges: those are hundreds of thousands of short texts, for which values of JavaScript
 * would take a hundred megabytes. They are read where they stand, as bytes.
 */
import { parseObject, utf8Text, type JsonObject } from '../../json-file.js'
import { valueRange } from './json-bytes.js'
import { Merges } from './merges.js'

export interface TokenizerFile {
  /** All but the merges: there is an empty list in their place. */
  readonly json: JsonObject
  readonly merges: Merges
}

/**
 * Reads the file, where there is one.
 * @throws AprError `APR_BAD_METADATA` for bytes that are no JSON in UTF-8, and for merges of another form
 */
export function tokenizerFile(files: ReadonlyMap<string, Uint8Array>): TokenizerFile | undefined {
  const bytes = files.get('tokenizer.json')
  if (!bytes) return undefined
  const { start, end } = valueRange(bytes, ['model', 'merges']) ?? { start: bytes.length, end: bytes.length }
  const isList = bytes[start] === 0x5b
  const [from, to] = isList ? [start, end] : [bytes.length, bytes.length]
  const parts = [bytes.subarray(0, from), bytes.subarray(to)].map((part) => utf8Text(part, 'tokenizer.json'))
  const json = parseObject(parts.join(isList ? '[]' : ''), 'tokenizer.json')
  return { json, merges: new Merges(bytes.subarray(from, to)) }
}
