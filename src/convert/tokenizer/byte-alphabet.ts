/** GPT-2's alphabet: a printable character for each byte, in which byte-level vocabularies are written. */

/** Bytes that are written as the character of the same number. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
}

const CHARACTERS: string[] = []
const BYTES = new Map<string, number>()
let next = 0x100
for (let byte = 0; byte < 0x100; byte++) {
  const character = String.fromCharCode(isPrintable(byte) ? byte : next++)
  CHARACTERS.push(character)
  BYTES.set(character, byte)
}

export const byteAlphabet = {
  /** A text's bytes in UTF-8, each as its character. */
  encode(text: string): string {
    return [...new TextEncoder().encode(text)].map((byte) => CHARACTERS[byte] ?? '').join('')
  },

  /** The text that a token stands for; a token with any other character stands for itself. */
  decode(token: string): string {
    const bytes: number[] = []
    for (const character of token) {
      const byte = BYTES.get(character)
      if (byte === undefined) return token
      bytes.push(byte)
    }
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes))
  },
}
