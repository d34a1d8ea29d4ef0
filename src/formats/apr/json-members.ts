/**
 * Finds where the members of a JSON object stand in its text, and checks the text strictly (RFC 8259) on the way. It
 * builds none of the values: a vocabulary of hundreds of thousands of strings costs no memory, which a parser that
 * makes them would need several times over.
 */
import { AprError, printable } from '../../model/errors.js'

/** A member of the object: its key, and where that and its value stand in the text. */
export interface Member {
  readonly key: string
  readonly keyStart: number
  readonly valueStart: number
  readonly valueEnd: number
}

/** Levels of nesting that are accepted: the limit of the reference's JSON library. */
const MAX_METADATA_DEPTH = 128

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const LITERAL = /true|false|null/y
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y
const SPACE = /[ \t\n\r]*/y

/**
 * The members of the one object that the text is, in its order. A key can be there twice.
 * @param subject what the text is, for errors
 * @throws AprError `APR_BAD_METADATA`, `APR_LIMIT`
 */
export function findMembers(text: string, subject = 'metadata'): Member[] {
  const scanner = new Scanner(text, subject)
  scanner.space()
  if (!scanner.isAt('{')) {
    throw new AprError('APR_BAD_METADATA', `expected ${subject} to be a JSON object, found ${scanner.found()}`)
  }
  const members = scanner.object(1)
  scanner.space()
  if (scanner.position < text.length) throw scanner.error('the end of the text')
  return members
}

/** Reads values from left to right; every method leaves `position` behind what it read. */
class Scanner {
  readonly #text: string
  readonly #subject: string
  position = 0

  constructor(text: string, subject: string) {
    this.#text = text
    this.#subject = subject
  }

  object(depth: number): Member[] {
    const members: Member[] = []
    this.#items('{', '}', () => {
      const keyStart = this.position
      if (!this.isAt('"')) throw this.error('a key in double quotes')
      this.#string()
      const keyEnd = this.position
      this.space()
      this.#take(':')
      this.space()
      const valueStart = this.position
      this.#value(depth)
      // Only the members of the outermost object are looked for.
      if (depth > 1) return
      const key = JSON.parse(this.#text.slice(keyStart, keyEnd)) as string
      members.push({ key, keyStart, valueStart, valueEnd: this.position })
    })
    return members
  }

  isAt(character: string): boolean {
    return this.#text[this.position] === character
  }

  space(): void {
    this.#match(SPACE)
  }

  found(): string {
    const character = this.#text[this.position]
    return character === undefined ? 'the end of the text' : `"${printable(character)}" at character ${this.position}`
  }

  error(expected: string): AprError {
    return new AprError(
      'APR_BAD_METADATA',
      `expected ${expected} in the ${this.#subject}'s JSON, found ${this.found()}`,
    )
  }

  #value(depth: number): void {
    if (this.isAt('"')) this.#string()
    else if (this.isAt('{')) this.object(this.#deeper(depth))
    else if (this.isAt('[')) this.#array(this.#deeper(depth))
    else if (!this.#match(NUMBER) && !this.#match(LITERAL)) throw this.error('a value')
  }

  #array(depth: number): void {
    this.#items('[', ']', () => this.#value(depth))
  }

  /** What stands between brackets, parted by commas. */
  #items(open: string, close: string, item: () => void): void {
    this.#take(open)
    this.space()
    if (!this.isAt(close)) {
      for (;;) {
        item()
        this.space()
        if (!this.isAt(',')) break
        this.position++
        this.space()
      }
    }
    this.#take(close)
  }

  #string(): void {
    const text = this.#text
    for (this.position++; ;) {
      const code = text.charCodeAt(this.position)
      if (code === QUOTE) break
      if (code === BACKSLASH) {
        if (!this.#match(ESCAPE)) throw this.error('an escape sequence')
      } else if (code >= FIRST_PRINTABLE) {
        this.position++
      } else {
        // A control character; or NaN, at the end of the text.
        throw this.error('a string without control characters and a double quote at its end')
      }
    }
    this.position++
  }

  #deeper(depth: number): number {
    if (depth < MAX_METADATA_DEPTH) return depth + 1
    throw new AprError(
      'APR_LIMIT',
      `expected metadata nested at most ${MAX_METADATA_DEPTH} levels deep, found more at character ${this.position}`,
    )
  }

  #take(character: string): void {
    if (!this.isAt(character)) throw this.error(`"${character}"`)
    this.position++
  }

  #match(pattern: RegExp): boolean {
    pattern.lastIndex = this.position
    if (!pattern.test(this.#text)) return false
    this.position = pattern.lastIndex
    return true
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const FIRST_PRINTABLE = 0x20
