/** The merges of a vocabulary: pairs of texts that are joined, the first ones first. */
import { textsKv, type Kv } from '../../../formats/formats.js'
import { AprError } from '../../../model/errors.js'
import { checkUtf8, hash, skipSpace, skipString, unescape } from './json-bytes.js'

const [QUOTE, COMMA, SPACE] = [0x22, 0x2c, 0x20]
const [OPEN_LIST, CLOSE_LIST] = [0x5b, 0x5d]
/** U+0120, as which a space inside a part is written. */
const [MARK_FIRST, MARK_SECOND] = [0xc4, 0xa0]

/** The two parts of a merge in UTF-8: places in `source`. */
interface Pair {
  readonly source: Uint8Array
  readonly left: number
  readonly leftEnd: number
  readonly right: number
  readonly rightEnd: number
  /** Whether it stands in the list as one text, and is written as it stands there. */
  readonly isText: boolean
}

/** A list of merges, each a text of two parts or a pair of texts, as it stands in tokenizer.json. */
export class Merges {
  readonly #list: Uint8Array

  /**
   * @param list from bracket to bracket; empty where there is none
   * @throws AprError `APR_BAD_METADATA` for bytes that are no UTF-8
   */
  constructor(list: Uint8Array) {
    checkUtf8(list, 'tokenizer.json')
    this.#list = list
  }

  /**
   * As an array of texts of two parts; a space inside a part is written as U+0120.
   * @throws AprError `APR_BAD_METADATA` for merges of another form
   */
  toKv(key: string): Kv {
    let count = 0
    let size = 0
    this.#each((pair) => {
      count++
      size += lengthOf(pair)
    })
    return textsKv(key, { count, size }, (data, begin) => {
      this.#each((pair) => write(pair, data, begin(lengthOf(pair))))
    })
  }

  /**
   * Calls for the merges that may join two parts to one of the texts.
   * @param texts undefined: for all
   */
  eachOf(texts: ReadonlySet<string> | undefined, visit: (left: string, right: string, rank: number) => void): void {
    const encoder = new TextEncoder()
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
    const hashes = texts && new Set([...texts].map((text) => hash(encoder.encode(text))))
    let rank = 0
    this.#each(({ source, left, leftEnd, right, rightEnd }) => {
      const own = rank++
      if (hashes && !hashes.has(hash(source, right, rightEnd, hash(source, left, leftEnd)))) return
      visit(decoder.decode(source.subarray(left, leftEnd)), decoder.decode(source.subarray(right, rightEnd)), own)
    })
  }

  /** Makes nothing but for texts with escapes: the pair is the same object, with other places. */
  #each(visit: (pair: Pair) => void): void {
    const list = this.#list
    const pair = { source: list, left: 0, leftEnd: 0, right: 0, rightEnd: 0, isText: true }
    let at = skipSpace(list, 1)
    while (at < list.length - 1) {
      at = list[at] === OPEN_LIST ? readPair(list, at, pair) : readText(list, at, pair)
      visit(pair)
      at = skipSpace(list, at)
      const isLast = at === list.length - 1
      if (!isLast && list[at] !== COMMA) throw otherForm()
      if (isLast) return
      at = skipSpace(list, at + 1)
      if (at === list.length - 1) throw otherForm()
    }
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** `"left right"`: at the first space; what has none has an empty right part. */
function readText(list: Uint8Array, from: number, pair: Mutable<Pair>): number {
  const end = stringEnd(list, from)
  const unescaped = unescape(list, from, end, otherForm)
  pair.isText = true
  pair.source = unescaped ?? list
  pair.left = unescaped ? 0 : from + 1
  pair.rightEnd = unescaped ? unescaped.length : end - 1
  const space = pair.source.subarray(pair.left, pair.rightEnd).indexOf(SPACE)
  pair.leftEnd = space < 0 ? pair.rightEnd : pair.left + space
  pair.right = space < 0 ? pair.rightEnd : pair.leftEnd + 1
  return end
}

/** `["left", "right"]`. */
function readPair(list: Uint8Array, from: number, pair: Mutable<Pair>): number {
  const left = skipSpace(list, from + 1)
  const leftEnd = stringEnd(list, left)
  const comma = skipSpace(list, leftEnd)
  if (list[comma] !== COMMA) throw otherForm()
  const right = skipSpace(list, comma + 1)
  const rightEnd = stringEnd(list, right)
  const close = skipSpace(list, rightEnd)
  if (list[close] !== CLOSE_LIST) throw otherForm()
  pair.isText = false
  const first = unescape(list, left, leftEnd, otherForm)
  const second = unescape(list, right, rightEnd, otherForm)
  if (first || second) {
    const both = [first ?? list.subarray(left + 1, leftEnd - 1), second ?? list.subarray(right + 1, rightEnd - 1)]
    place(pair, Uint8Array.from(both.flatMap((part) => [...part])), both[0]?.length ?? 0)
  } else {
    pair.source = list
    pair.left = left + 1
    pair.leftEnd = leftEnd - 1
    pair.right = right + 1
    pair.rightEnd = rightEnd - 1
  }
  return close + 1
}

function place(pair: Mutable<Pair>, source: Uint8Array, leftEnd: number): void {
  Object.assign(pair, { source, left: 0, leftEnd, right: leftEnd, rightEnd: source.length })
}

function stringEnd(list: Uint8Array, from: number): number {
  const end = skipString(list, from)
  if (list[from] !== QUOTE || end > list.length) throw otherForm()
  return end
}

/** Bytes of a pair as one text. */
function lengthOf({ source, left, leftEnd, right, rightEnd, isText }: Pair): number {
  if (isText) return rightEnd - left
  let length = leftEnd - left + 1 + rightEnd - right
  for (let at = left; at < leftEnd; at++) if (source[at] === SPACE) length++
  for (let at = right; at < rightEnd; at++) if (source[at] === SPACE) length++
  return length
}

function write({ source, left, leftEnd, right, rightEnd, isText }: Pair, data: Uint8Array, start: number): void {
  let to = start
  if (isText) {
    for (let at = left; at < rightEnd; at++) data[to++] = source[at] ?? 0
    return
  }
  for (let at = left; at < leftEnd; at++) to = put(data, to, source[at] ?? 0)
  data[to++] = SPACE
  for (let at = right; at < rightEnd; at++) to = put(data, to, source[at] ?? 0)
}

function put(data: Uint8Array, at: number, byte: number): number {
  data[at] = byte === SPACE ? MARK_FIRST : byte
  if (byte !== SPACE) return at + 1
  data[at + 1] = MARK_SECOND
  return at + 2
}

function otherForm(): AprError {
  return new AprError('APR_BAD_METADATA', 'expected merges of tokenizer.json as texts or pairs of texts, found others')
}
