/** Bytes of a text in UTF-8, without making them: a vocabulary takes many megabytes. */
export function utf8Bytes(text: string): number {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) continue
    if (unit < 0x800) bytes++
    else if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(i + 1))) {
      // Two units, four bytes.
      bytes += 2
      i++
    } else bytes += 2 // A lone surrogate is written as U+FFFD, which takes three bytes too.
  }
  return bytes
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000
}

const LONE_SURROGATE = /\p{Cs}/u

/** Whether a text is of whole characters: one with a lone surrogate is none in UTF-8. */
export function isWellFormed(text: string): boolean {
  return !LONE_SURROGATE.test(text)
}
