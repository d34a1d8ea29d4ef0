/** Finds values in JSON as bytes, without making any. What it steps over it does not check. */

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
function skipValue(bytes: Uint8Array, from: number): number {
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
