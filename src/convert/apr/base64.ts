/** Bytes as text that JSON holds. Written out here: what platforms have for it differs. */

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const VALUES = new Map(Array.from(DIGITS, (digit, value) => [digit.charCodeAt(0), value]))

/** Units of 3 bytes that are made a text at once: that is what `fromCharCode` takes. */
const CHUNK_UNITS = 4096

export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = []
  for (let start = 0; start < bytes.length; start += CHUNK_UNITS * 3) {
    const codes: number[] = []
    const end = Math.min(start + CHUNK_UNITS * 3, bytes.length)
    for (let at = start; at < end; at += 3) {
      const unit = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0)
      for (const shift of [18, 12, 6, 0]) codes.push(DIGITS.charCodeAt((unit >> shift) & 63))
    }
    parts.push(String.fromCharCode(...codes))
  }
  const missing = (3 - (bytes.length % 3)) % 3
  const text = parts.join('')
  return missing === 0 ? text : text.slice(0, -missing) + '='.repeat(missing)
}

/** @returns undefined for a text that is none */
export function fromBase64(text: string): Uint8Array | undefined {
  const digits = text.replace(/={1,2}$/, '')
  if (text.length % 4 !== 0 || /[^A-Za-z0-9+/]/.test(digits)) return undefined
  const bytes = new Uint8Array(Math.floor((digits.length * 3) / 4))
  for (let at = 0; at < digits.length; at += 4) {
    let unit = 0
    for (let i = 0; i < 4; i++) unit = (unit << 6) | (VALUES.get(digits.charCodeAt(at + i)) ?? 0)
    const place = (at / 4) * 3
    for (const [i, shift] of [16, 8, 0].entries())
      if (place + i < bytes.length) bytes[place + i] = (unit >> shift) & 255
  }
  return bytes
}
