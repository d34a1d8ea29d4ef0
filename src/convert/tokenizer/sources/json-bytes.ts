/** Finds values in JSON as bytes, without making any. What it steps over it does not check. */
import { AprError } from '../../../model/errors.js'
import { isWellFormed } from '../../../model/utf8.js'

/** First byte, and the one behind the last. */
export interface Range {
  readonly start: number
  readonly end: number
}

const [QUOTE, BACKSLASH, COLON, COMMA] = [0x22, 0x5c, 0x3a, 0x2c]
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d]

/** The place of a value inside objects in objects: of keys that are there twice the last one's. */
export function valueRange(bytes: Uint8Array, path: readonly string[], from = 0): Range | undefined {
  const [key, ...rest] = path
  if (key === undefined) return { start: from, end: skipValue(bytes, from) }
  let found: number | undefined
  let at = skipSpace(bytes, from)
  if (bytes[at] !== OPEN_OBJECT) return undefined
  at = skipSpace(bytes, at + 1)
  while (bytes[at] === QUOTE) {
    const keyEnd = skipString(bytes, at)
    const isIt = isKey(bytes, at, keyEnd, key)
    at = skipSpace(bytes, keyEnd)
    if (bytes[at] !== COLON) return undefined
    at = skipSpace(bytes, at + 1)
    if (isIt) found = at
    at = skipSpace(bytes, skipValue(bytes, at))
    if (bytes[at] === COMMA) at = skipSpace(bytes, at + 1)
  }
  return found === undefined ? undefined : valueRange(bytes, rest, found)
}

/** Whether the text there, between quotes, is the key. */
function isKey(bytes: Uint8Array, start: number, end: number, key: string): boolean {
  if (end - start > 6 * key.length + 2) return false
  try {
    return JSON.parse(new TextDecoder().decode(bytes.subarray(start, end))) === key
  } catch {
    return false
  }
}

/** Without the byte order mark, with which a file may begin. */
export function withoutMark(bytes: Uint8Array): Uint8Array {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes
}

export function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from
  while (bytes[at] === 0x20 || bytes[at] === 0x0a || bytes[at] === 0x0d || bytes[at] === 0x09) at++
  return at
}

/** Behind the string that begins there. */
export function skipString(bytes: Uint8Array, from: number): number {
  let at = from + 1
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
  return at + 1
}

/** Behind the value that begins there. */
export function skipValue(bytes: Uint8Array, from: number): number {
  let depth = 0
  let at = from
  while (at < bytes.length) {
    const byte = bytes[at]
    if (byte === QUOTE) {
      at = skipString(bytes, at)
      if (depth === 0) return at
      continue
    }
    if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++
    else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
      // The end of what it stands in.
      if (depth === 0) return at
      if (--depth === 0) return at + 1
    } else if (byte === COMMA && depth === 0) return at
    at++
  }
  return at
}

/**
 * The text between quotes there in UTF-8, where it has escapes; undefined where its bytes are the text.
 * @throws what `error` makes, for what is no text of whole characters
 */
export function unescape(bytes: Uint8Array, start: number, end: number, error: () => AprError): Uint8Array | undefined {
  let at = start
  while (at < end && bytes[at] !== BACKSLASH && (bytes[at] ?? 0) >= 0x20) at++
  if (at === end && end <= bytes.length) return undefined
  let text: string
  try {
    text = JSON.parse(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(start, end))) as string
  } catch {
    throw error()
  }
  if (!isWellFormed(text)) throw error()
  return new TextEncoder().encode(text)
}

/** Bytes that are decoded at a time, to see whether they are UTF-8. */
const CHECKED_BYTES = 1 << 13

/** @throws AprError `APR_BAD_METADATA` for bytes that are no UTF-8 */
export function checkUtf8(bytes: Uint8Array, name: string): void {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  try {
    for (let at = 0; at < bytes.length; at += CHECKED_BYTES) {
      decoder.decode(bytes.subarray(at, at + CHECKED_BYTES), { stream: true })
    }
    decoder.decode()
  } catch (cause) {
    throw new AprError('APR_BAD_METADATA', `expected ${name} to be UTF-8, found other bytes`, {}, { cause })
  }
}

/** FNV-1a of 32 bits. */
export function hash(bytes: Uint8Array, start = 0, end = bytes.length, seed = 0x811c9dc5): number {
  let value = seed
  for (let at = start; at < end; at++) value = Math.imul(value ^ (bytes[at] ?? 0), 0x01000193)
  return value
}
