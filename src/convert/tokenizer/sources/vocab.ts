/** A vocabulary as it stands in JSON: texts and their ids, hundreds of thousands, read where they stand, as bytes. */
import { AprError, printable } from '../../../model/errors.js'
import { found } from '../../../model/found.js'
import { checkUtf8, hash, skipSpace, skipString, skipValue, unescape } from './json-bytes.js'

const [QUOTE, COLON, COMMA] = [0x22, 0x3a, 0x2c]
const [OPEN, CLOSE] = [0x7b, 0x7d]
const [ZERO, NINE] = [0x30, 0x39]

/** A text in UTF-8: a place in `source`. */
export interface TextRange {
  source: Uint8Array
  start: number
  end: number
}

/** Of a text that is there twice the last one counts, as everywhere in JSON. */
export class Vocab {
  readonly #json: Uint8Array
  readonly #name: string
  /** How many texts there are. */
  readonly size: number
  readonly #hasTwins: boolean
  /** Open addressing: places of texts by their hashes, and those hashes; 0 where there is none. */
  readonly #places: Uint32Array
  readonly #hashes: Int32Array
  /** So that nobody can make texts that all stand in one slot. */
  readonly #seed = (Math.random() * 2 ** 32) | 0
  readonly #text: TextRange = { source: new Uint8Array(0), start: 0, end: 0 }

  /**
   * @param json an object from brace to brace
   * @param name of the file, for errors
   * @throws AprError `APR_BAD_METADATA` for other bytes, and for ids that are no whole numbers
   */
  constructor(json: Uint8Array, name = 'tokenizer.json') {
    checkUtf8(json, name)
    this.#json = json
    this.#name = name
    let count = 0
    this.#scan(() => count++)
    const slots = 2 ** Math.ceil(Math.log2(1.5 * count + 1))
    this.#places = new Uint32Array(slots)
    this.#hashes = new Int32Array(slots)
    let size = 0
    this.#scan((place) => {
      const { source, start, end } = this.textAt(place)
      const own = hash(source, start, end, this.#seed)
      const slot = this.#slotOf(own, () => this.stringAt(place))
      if (this.#places[slot] === 0) size++
      this.#places[slot] = place
      this.#hashes[slot] = own
    })
    this.size = size
    this.#hasTwins = size < count
  }

  /** Calls for each text, in their order, with its place. */
  each(visit: (place: number, id: number) => void): void {
    this.#scan((place, id) => {
      if (!this.#hasTwins || this.#placeOf(this.stringAt(place)) === place) visit(place, id)
    })
  }

  idOf(text: string): number | undefined {
    const place = this.#placeOf(text)
    return place === 0 ? undefined : this.#idAt(skipString(this.#json, place))
  }

  /** The text at a place: the same object each time. */
  textAt(place: number): Readonly<TextRange> {
    const end = skipString(this.#json, place)
    const unescaped = unescape(this.#json, place, end, () => this.#broken('a text that is none'))
    const text = this.#text
    text.source = unescaped ?? this.#json
    text.start = unescaped ? 0 : place + 1
    text.end = unescaped ? unescaped.length : end - 1
    return text
  }

  stringAt(place: number): string {
    const { source, start, end } = this.textAt(place)
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(source.subarray(start, end))
  }

  #placeOf(text: string): number {
    const own = hash(new TextEncoder().encode(text), undefined, undefined, this.#seed)
    return this.#places[this.#slotOf(own, () => text)] ?? 0
  }

  /** Where a text stands in the table, or would. */
  #slotOf(own: number, text: () => string): number {
    const mask = this.#places.length - 1
    for (let slot = own & mask; ; slot = (slot + 1) & mask) {
      const place = this.#places[slot] ?? 0
      if (place === 0 || (this.#hashes[slot] === own && this.stringAt(place) === text())) return slot
    }
  }

  /** Steps over all that is there, whatever else has the same text. */
  #scan(visit: (place: number, id: number) => void): void {
    const json = this.#json
    if (json[0] !== OPEN) throw this.#broken('no object')
    let at = skipSpace(json, 1)
    while (json[at] === QUOTE) {
      const place = at
      const end = skipString(json, place)
      visit(place, this.#idAt(end))
      at = skipSpace(json, this.#valueEnd(end))
      if (json[at] !== COMMA) break
      at = skipSpace(json, at + 1)
      if (json[at] !== QUOTE) throw this.#broken('a comma with nothing behind it')
    }
    if (json[at] !== CLOSE || skipSpace(json, at + 1) !== json.length) throw this.#broken('other text')
  }

  #valueStart(keyEnd: number): number {
    const colon = skipSpace(this.#json, keyEnd)
    if (this.#json[colon] !== COLON) throw this.#broken('a text without an id')
    return skipSpace(this.#json, colon + 1)
  }

  #valueEnd(keyEnd: number): number {
    return skipDigits(this.#json, this.#valueStart(keyEnd))
  }

  #idAt(keyEnd: number): number {
    const json = this.#json
    const start = this.#valueStart(keyEnd)
    const end = skipDigits(json, start)
    const next = json[skipSpace(json, end)]
    const isWhole = end > start && (end === start + 1 || json[start] !== ZERO) && (next === COMMA || next === CLOSE)
    if (!isWhole) throw this.#notAnId(start)
    let id = 0
    for (let at = start; at < end; at++) id = 10 * id + (json[at] ?? 0) - ZERO
    return id
  }

  #notAnId(start: number): AprError {
    const text = new TextDecoder().decode(
      this.#json.subarray(start, Math.min(skipValue(this.#json, start), start + 80)),
    )
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return this.#broken(`"${printable(text)}"`)
    }
    const what = `expected ids of tokens in ${this.#name} as integers, found ${found(value)}`
    return new AprError('APR_BAD_METADATA', what)
  }

  #broken(what: string): AprError {
    return new AprError('APR_BAD_METADATA', `expected ${this.#name} to be JSON with a vocabulary, found ${what}`)
  }
}

function skipDigits(json: Uint8Array, from: number): number {
  let at = from
  while ((json[at] ?? 0) >= ZERO && (json[at] ?? 0) <= NINE) at++
  return at
}
