/** Options as callers give them, checked against a table. Plain JavaScript has no compiler that would do it. */
import { toInput, toOutput, toPath } from '../files/path.js'
import { AprError, printable } from '../model/errors.js'
import { found, isFields } from '../model/found.js'
import { answering, type AnswerCheck } from './answers.js'

/** What values an option takes. */
export interface OptionKind<Value = unknown> {
  /** As the documentation names it, with the unit of a number. */
  readonly type: string
  readonly unit?: string
  /**
   * Gives the value that is to be used.
   * @throws AprError `APR_BAD_OPTION`
   */
  readonly check: (name: string, value: unknown) => Value
}

/** All that is known of an option. */
export interface OptionRow<Value = unknown> {
  readonly kind: OptionKind<Value>
  /** The value that is used where none is given. */
  readonly default?: Value
  /** Where that is no fixed value: what it follows, for the documentation. */
  readonly derived?: string
  /** One sentence for the documentation. */
  readonly meaning: string
}

/** A row for each option of `T`, for values that it may have. */
export type OptionTable<T extends object> = { readonly [K in keyof T]-?: OptionRow<Exclude<T[K], undefined>> }

/** Options that were checked: those that have a default are there, and a URL has become a path. */
export type Checked<T extends object, Table> = {
  readonly [K in keyof T & keyof Table]-?: Table[K] extends { default: unknown }
    ? Exclude<T[K], undefined>
    : Exclude<T[K], URL> | undefined
}

/**
 * Checks what a caller gave: an object, no option that there is not, each of its kind. A misspelled option would do
 * nothing in silence.
 * @returns a frozen copy, with defaults
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkOptions<T extends object, Table extends OptionTable<T>>(
  options: T,
  table: Table,
): Checked<T, Table> {
  if (!isFields(options)) {
    throw new AprError('APR_BAD_OPTION', `expected options to be an object, found ${found(options)}`)
  }
  const names = Object.keys(table)
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown !== undefined) {
    throw new AprError('APR_BAD_OPTION', `expected options among ${names.join(', ')}, found ${printable(unknown)}`)
  }
  return takeOptions<T, Table>(options, table)
}

/** The same for options that may hold those of other functions as well. */
export function takeOptions<T extends object, Table extends OptionTable<T>>(
  options: T,
  table: Table,
): Checked<T, Table> {
  const rows: [string, OptionRow][] = Object.entries(table)
  const checked = rows.map(([name, row]) => {
    const value = (options as Readonly<Record<string, unknown>>)[name]
    return [name, value === undefined ? row.default : row.kind.check(name, value)] as const
  })
  return Object.freeze(Object.fromEntries(checked)) as Checked<T, Table>
}

/** A number of units, above 0 and finite. */
export function positive(unit: string): OptionKind<number> {
  const check = (name: string, value: unknown): number => {
    if (typeof value === 'number' && value > 0 && value < Infinity) return value
    throw bad(name, `a number of ${unit} above 0`, value)
  }
  return { type: 'number', unit, check }
}

/** A whole number of units, `least` or more. */
export function wholeNumber(unit: string, least: 0 | 1 = 1): OptionKind<number> {
  const check = (name: string, value: unknown): number => {
    if (Number.isSafeInteger(value) && (value as number) >= least) return value as number
    throw bad(name, `a whole number of ${unit}${least === 0 ? ', 0 or more' : ' above 0'}`, value)
  }
  return { type: 'number', unit, check }
}

/** `true` or `false`: `'false'`, taken as true, would replace a file. */
export const BOOLEAN: OptionKind<boolean> = {
  type: 'boolean',
  check(name, value) {
    if (typeof value === 'boolean') return value
    throw bad(name, 'true or false', value)
  },
}

/** One of a few words. */
export function oneOf<Word extends string>(...words: readonly Word[]): OptionKind<Word> {
  const check = (name: string, value: unknown): Word => {
    if (words.includes(value as Word)) return value as Word
    throw bad(name, `one of ${words.join(', ')}`, value)
  }
  return { type: words.map((word) => `\`'${word}'\``).join(', '), check }
}

/** A function whose answers are checked. */
export function callback<Arguments extends unknown[], Answer>(
  type: string,
  answer: AnswerCheck<Arguments, Answer>,
): OptionKind<(...asked: Arguments) => Answer> {
  return { type, check: (name, value) => answering(name, value as (...asked: Arguments) => unknown, answer) }
}

export const SIGNAL: OptionKind<AbortSignal> = {
  type: 'AbortSignal',
  check(name, value) {
    const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>
    if (typeof aborted === 'boolean' && typeof addEventListener === 'function') return value as AbortSignal
    throw bad(name, 'an AbortSignal', value)
  },
}

export const TEXT: OptionKind<string> = {
  type: 'string',
  check(name, value) {
    if (typeof value === 'string' && value !== '') return value
    throw bad(name, 'a text', value)
  },
}

/** One of a few words in the place of each of some others. */
export function wordsBy<Word extends string>(...words: readonly Word[]): OptionKind<Readonly<Record<string, Word>>> {
  return {
    type: 'object',
    check(name, value) {
      const expected = `an object of patterns, each with one of ${words.join(', ')}`
      if (!isFields(value)) throw bad(name, expected, value)
      for (const [key, word] of Object.entries(value)) {
        // JavaScript would move it to the front, and so change which is the first.
        if (key === '' || /^\d+$/.test(key)) throw bad(name, `${expected}, none of them empty or a number`, key)
        if (!words.includes(word as Word)) throw bad(`${name} of ${printable(key)}`, `one of ${words.join(', ')}`, word)
      }
      return Object.freeze({ ...value }) as Readonly<Record<string, Word>>
    },
  }
}

export const PATH: OptionKind<string> = { type: 'string or URL', check: toPath }

/** The same of an output, which may be an object. */
export const OUTPUT: OptionKind<string> = { type: 'string or URL', check: toOutput }

/** Of what is only read, and may be somewhere else. */
export const INPUT: OptionKind<string> = { type: 'string or URL', check: toInput }

function bad(name: string, expected: string, value: unknown): AprError {
  return new AprError('APR_BAD_OPTION', `expected ${name} to be ${expected}, found ${found(value)}`)
}
