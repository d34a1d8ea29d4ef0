/** Patterns of tokenizers, written for Oniguruma, as patterns of JavaScript. */

import { AprError, printable } from '../../../model/errors.js'

/** Pieces of a pattern: an escape, how a group opens, a count, or a character. */
const PIECES = /\\[pP]\{\^?\w+\}|\\x\{[0-9A-Fa-f]+\}|\\.|\(\?(?:[:=!>]|<[=!]|i:)|\{\d*,?\d*\}|[^]/gu

/** Characters that may stand behind a backslash without a meaning of their own. */
const SYNTAX = '^$\\.*+?()[]{}|/'

/**
 * The same pattern for JavaScript: for as much of Oniguruma's language as tokenizers use.
 * @throws AprError `APR_UNSUPPORTED` for other patterns
 */
export function toRegExp(pattern: string): RegExp {
  let source = ''
  let isClass = false
  let isRepeated = false
  /** For each open group whether it ignores case. */
  const groups: boolean[] = []
  for (const [piece] of pattern.matchAll(PIECES)) {
    const ignoresCase = groups.at(-1) ?? false
    const wasRepeated: boolean = isRepeated
    isRepeated = !isClass && (['?', '*', '+'].includes(piece) || /^\{\d/.test(piece)) && !wasRepeated
    if (piece.length > 1 && piece.startsWith('\\')) source += escape(piece, isClass)
    else if (isClass) {
      // A bracket in a class stands for itself: none of the patterns has classes in classes.
      source += piece === '[' ? '\\[' : ignoresCase ? bothCases(piece) : piece
      isClass = piece !== ']'
    } else if (piece === ')') {
      groups.pop()
      source += piece
    } else if (piece.startsWith('(')) {
      groups.push(ignoresCase || piece === '(?i:')
      source += piece === '(?i:' || piece === '(?>' ? '(?:' : piece
    } else if (piece === '+' && wasRepeated) {
      // Possessive: it gives nothing back, and in the patterns of tokenizers nothing is ever wanted back.
      continue
    } else {
      isClass = piece === '['
      const cases = ignoresCase ? bothCases(piece) : piece
      source += cases === piece ? piece : `[${cases}]`
    }
  }
  try {
    return new RegExp(source, 'gu')
  } catch (cause) {
    const what = `expected a pattern of tokenizer.json that can be run, found ${printable(pattern)}`
    throw new AprError('APR_UNSUPPORTED', what, {}, { cause })
  }
}

function escape(piece: string, isClass: boolean): string {
  const [, character = ''] = piece
  if (piece.startsWith('\\x{')) return `\\u${piece.slice(2)}`
  if (piece.length > 2) return piece.includes('^') ? `\\P${piece.slice(2).replace('^', '')}` : piece
  const isKept = /[A-Za-z0-9]/.test(character) || SYNTAX.includes(character) || (isClass && character === '-')
  return isKept ? piece : character
}

function bothCases(character: string): string {
  const [lower, upper] = [character.toLowerCase(), character.toUpperCase()]
  return lower === upper ? character : lower + upper
}
