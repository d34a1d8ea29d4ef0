/** Pre-tokenizers of `tokenizer.json`: how a text is cut into words, inside which byte pairs are joined. */
import { isFields } from '../../../model/found.js'
import type { JsonObject } from '../../json-file.js'
import { byteAlphabet } from '../byte-alphabet.js'
import { listOf, textOf, unknownPart } from './normalizers.js'
import { toRegExp } from './regex.js'

/** GPT-2's words. */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu
const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu

/** A run of a text, and whether the pattern matched it. */
interface Run {
  start: number
  end: number
  readonly isMatch: boolean
}

/**
 * The words of a text.
 * @param isFirst whether the text stands at the start of all
 * @throws AprError `APR_UNSUPPORTED` for a pre-tokenizer that is not known
 */
export function words(preTokenizer: unknown, text: string, isFirst: boolean): string[] {
  if (!isFields(preTokenizer)) return [text]
  switch (preTokenizer['type']) {
    case 'Sequence':
      return listOf(preTokenizer['pretokenizers']).reduce<string[]>(
        (now, one) => now.flatMap((word, i) => words(one, word, isFirst && i === 0)),
        [text],
      )
    case 'Split':
      return split(text, patternOf(preTokenizer), textOf(preTokenizer['behavior']), preTokenizer['invert'] === true)
    case 'ByteLevel':
      return byteLevel(text, preTokenizer)
    case 'Digits':
      return split(text, /\p{N}/gu, preTokenizer['individual_digits'] === true ? 'Isolated' : 'Contiguous')
    case 'Punctuation':
      return split(text, PUNCTUATION, textOf(preTokenizer['behavior']) || 'Isolated')
    case 'Whitespace':
      return split(
        text,
        /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\s]+/gu,
        'Removed',
        true,
      )
    case 'WhitespaceSplit':
      return split(text, /\s/gu, 'Removed')
    case 'Metaspace':
      return metaspace(text, preTokenizer, isFirst)
    default:
      throw unknownPart('pre_tokenizer', preTokenizer['type'])
  }
}

function patternOf({ pattern }: JsonObject): RegExp {
  const { String: plain, Regex: regex } = isFields(pattern) ? pattern : {}
  return typeof plain === 'string'
    ? new RegExp(plain.replace(/[\^$\\.*+?()[\]{}|/]/g, '\\$&'), 'gu')
    : toRegExp(textOf(regex))
}

function byteLevel(text: string, { add_prefix_space: addsSpace, use_regex: usesWords }: JsonObject): string[] {
  const whole = addsSpace === true && !text.startsWith(' ') ? ` ${text}` : text
  const parts = usesWords === false ? [whole] : split(whole, WORDS, 'Isolated')
  return parts.map((part) => byteAlphabet.encode(part))
}

function metaspace(text: string, options: JsonObject, isFirst: boolean): string[] {
  const mark = textOf(options['replacement']) || '\u2581'
  const scheme = options['prepend_scheme'] ?? (options['add_prefix_space'] === false ? 'never' : 'always')
  const marked = text.replaceAll(' ', mark)
  const isPrepended = (scheme === 'always' || (scheme === 'first' && isFirst)) && !marked.startsWith(mark)
  const whole = isPrepended ? mark + marked : marked
  return options['split'] === false ? [whole] : split(whole, new RegExp(mark, 'gu'), 'MergedWithNext')
}

/** Cuts a text where a pattern matches; what becomes of the matches is the behaviour. */
function split(text: string, pattern: RegExp, behavior: string, isInverted = false): string[] {
  const runs = runsOf(text, pattern, isInverted)
  return behave(runs, behavior)
    .map(({ start, end }) => text.slice(start, end))
    .filter((word) => word !== '')
}

function runsOf(text: string, pattern: RegExp, isInverted: boolean): Run[] {
  const runs: Run[] = []
  let end = 0
  for (const match of text.matchAll(pattern)) {
    const start = match.index
    const stop = start + match[0].length
    // An empty match right behind another one is none.
    if (stop === start && start === end && runs.length > 0) continue
    if (start > end) runs.push({ start: end, end: start, isMatch: isInverted })
    runs.push({ start, end: stop, isMatch: !isInverted })
    end = stop
  }
  if (end < text.length) runs.push({ start: end, end: text.length, isMatch: isInverted })
  return runs
}

function behave(runs: readonly Run[], behavior: string): readonly Run[] {
  if (behavior === 'Isolated') return runs
  if (behavior === 'Removed') return runs.filter(({ isMatch }) => !isMatch)
  const isBackward = behavior === 'MergedWithNext'
  const joined: Run[] = []
  let wasMatch = false
  for (const run of isBackward ? [...runs].reverse() : runs) {
    const last = joined.at(-1)
    const joins = behavior === 'Contiguous' ? run.isMatch === wasMatch : run.isMatch && !wasMatch
    if (joins && last) {
      if (isBackward) last.start = run.start
      else last.end = run.end
    } else joined.push({ ...run })
    wasMatch = run.isMatch
  }
  return isBackward ? joined.reverse() : joined
}
