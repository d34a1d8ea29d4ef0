/** Own rules of a caller: patterns of names, and the dtypes of what they find. */
import { AprError, printable } from '../model/errors.js'
import type { TargetDType } from './names.js'

export interface TypeRule {
  /**
   * A regular expression that is searched in the names that tensors have in GGUF, as `ffn_(down|up)` or `blk\.0\.`. Capitals
   * are taken for small letters.
   */
  readonly pattern: string
  readonly dtype: TargetDType
}

/**
 * Says which rule is the first whose pattern is found in a name.
 * @throws AprError `APR_BAD_OPTION` for a pattern that is none
 */
export function compileTypes(rules: readonly TypeRule[]): (name: string) => TypeRule | undefined {
  const compiled = rules.map((rule) => ({ rule, expression: compile(rule.pattern) }))
  return (name) => compiled.find(({ expression }) => expression.test(name))?.rule
}

function compile(pattern: string): RegExp {
  // C++ knows these in the same kind of expression, where JavaScript would find something else in silence.
  if (/\[[:.=]/.test(pattern)) {
    throw wrong(pattern, 'a regular expression as JavaScript has them, as [0-9] for [[:digit:]]')
  }
  try {
    return new RegExp(pattern.replace(/[A-Z]/g, (letter) => letter.toLowerCase()))
  } catch (error) {
    throw wrong(pattern, 'a regular expression', error)
  }
}

function wrong(pattern: string, expected: string, cause?: unknown): AprError {
  const what = `expected ${expected} as a pattern of \`types\`, found "${printable(pattern)}"`
  return new AprError('APR_BAD_OPTION', what, {}, { cause })
}
