/** A vocabulary as `vocab.json` and `merges.txt`: how folders were published before there was `tokenizer.json`. */
import { AprError, printable } from '../../../model/errors.js'
import { textFile, type JsonObject } from '../../json-file.js'
import { skipSpace, withoutMark } from './json-bytes.js'
import { Merges } from './merges.js'
import type { TokenizerFile } from './tokenizer-file.js'
import { Vocab } from './vocab.js'

/** Classes of transformers that are whole without a `tokenizer.json`: all but the vocabulary is in their code. */
const WHOLE_CLASSES = ['Qwen2Tokenizer', 'GPT2Tokenizer']

/**
 * What `tokenizer.json` would hold of a vocabulary; the class that reads it adds the rest. Undefined where there are no
 * such files.
 * @param className the class of transformers that reads the folder
 * @throws AprError `APR_UNSUPPORTED` for a class that reads more, `APR_BAD_METADATA` for files that are broken
 */
export function vocabAndMerges(
  files: ReadonlyMap<string, Uint8Array>,
  settings: JsonObject,
  className: string | undefined,
): TokenizerFile | undefined {
  const file = files.get('vocab.json')
  const merges = textFile(files, 'merges.txt')
  if (!file || merges === undefined) return undefined
  const addsTokens = settings['add_bos_token'] === true || settings['add_eos_token'] === true
  if (className === undefined || !WHOLE_CLASSES.includes(className) || addsTokens) {
    const found = addsTokens ? 'one that adds tokens' : (className ?? 'another one')
    const what = `expected tokenizer.json, or vocab.json and merges.txt of ${WHOLE_CLASSES.join(' or ')}, found those of ${printable(found)}; save the tokenizer with transformers, which makes tokenizer.json`
    throw new AprError('APR_UNSUPPORTED', what)
  }
  const bytes = withoutMark(file)
  const vocab = new Vocab(bytes.subarray(skipSpace(bytes, 0)), 'vocab.json')
  const json = { model: { type: 'BPE' }, added_tokens: [] }
  return { json, vocab: () => vocab, merges: new Merges(new TextEncoder().encode(JSON.stringify(pairs(merges)))) }
}

function pairs(text: string): string[] {
  const lines = text.split(/\r?\n/).filter((line, i, { length }) => !(line === '' && i === length - 1))
  const merges = lines.filter((line) => !line.startsWith('#version'))
  for (const line of merges) {
    if (line.split(' ').length === 2) continue
    const what = `expected two texts and a space in each line of merges.txt, found "${printable(line)}"`
    throw new AprError('APR_BAD_METADATA', what)
  }
  return merges
}
