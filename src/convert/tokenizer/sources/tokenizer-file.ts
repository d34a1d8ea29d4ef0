/**
 * `tokenizer.json`, without its vocabulary and merges: those are hundreds of thousands of short texts, for which values of
 * JavaScript would take a hundred megabytes. They are read where they stand, as bytes.
 */
import { parseObject, utf8Text, type JsonObject } from '../../json-file.js'
import { valueRange, withoutMark, type Range } from './json-bytes.js'
import { Merges } from './merges.js'
import { Vocab } from './vocab.js'

export interface TokenizerFile {
  /** All but vocabulary and merges: there are an empty object and an empty list in their places. */
  readonly json: JsonObject
  /**
   * Texts with their ids; undefined where the vocabulary has another form, which `json` holds then.
   * @throws AprError `APR_BAD_METADATA` for one that is broken
   */
  readonly vocab: () => Vocab | undefined
  readonly merges: Merges
}

/**
 * Reads the file, where there is one.
 * @throws AprError `APR_BAD_METADATA` for bytes that are no JSON in UTF-8, and for merges of another form
 */
export function tokenizerFile(files: ReadonlyMap<string, Uint8Array>): TokenizerFile | undefined {
  const file = files.get('tokenizer.json')
  if (!file) return undefined
  const bytes = withoutMark(file)
  const rangeOf = (key: string, open: string): Range | undefined => {
    const range = valueRange(bytes, ['model', key])
    return range && bytes[range.start] === open.charCodeAt(0) ? range : undefined
  }
  const vocab = rangeOf('vocab', '{')
  const merges = rangeOf('merges', '[')
  const cuts = [vocab, merges].filter((range) => range !== undefined).sort((a, b) => a.start - b.start)
  let text = ''
  let from = 0
  for (const cut of cuts) {
    text += utf8Text(bytes.subarray(from, cut.start), 'tokenizer.json') + (cut === vocab ? '{}' : '[]')
    from = cut.end
  }
  text += utf8Text(bytes.subarray(from), 'tokenizer.json')
  return {
    json: parseObject(text, 'tokenizer.json'),
    vocab: () => vocab && new Vocab(bytes.subarray(vocab.start, vocab.end)),
    merges: new Merges(merges ? bytes.subarray(merges.start, merges.end) : new Uint8Array(0)),
  }
}
