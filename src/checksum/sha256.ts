/** SHA-256 (FIPS 180-4), for short texts, without anything of the platform. */

/** The first 32 bits of the fractional parts of the roots of the first primes. */
const rootBits = (power: number, count: number): Uint32Array => {
  const bits: number[] = []
  for (let candidate = 2; bits.length < count; candidate++) {
    let isPrime = true
    for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) isPrime = false
    if (isPrime) bits.push(Math.floor((Math.pow(candidate, power) % 1) * 2 ** 32))
  }
  return Uint32Array.from(bits)
}
const CONSTANTS = rootBits(1 / 3, 64)
const START = rootBits(1 / 2, 8)

const BLOCK_BYTES = 64
const rotate = (value: number, bits: number): number => (value >>> bits) | (value << (32 - bits))

/** The hash of `bytes`, in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  const padded = new Uint8Array(Math.ceil((bytes.length + 9) / BLOCK_BYTES) * BLOCK_BYTES)
  padded.set(bytes)
  padded[bytes.length] = 0x80
  const view = new DataView(padded.buffer)
  view.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n)
  const state = Uint32Array.from(START)
  const words = new Uint32Array(64)
  for (let start = 0; start < padded.length; start += BLOCK_BYTES) {
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(start + 4 * i)
    for (let i = 16; i < 64; i++) {
      const early = words[i - 15] ?? 0
      const late = words[i - 2] ?? 0
      const s0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3)
      const s1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10)
      words[i] = (words[i - 16] ?? 0) + s0 + (words[i - 7] ?? 0) + s1
    }
    mix(state, words)
  }
  return [...state].map((word) => word.toString(16).padStart(8, '0')).join('')
}

function mix(state: Uint32Array, words: Uint32Array): void {
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
    const choice = (e & f) ^ (~e & g)
    const first = (h + s1 + choice + (CONSTANTS[i] ?? 0) + (words[i] ?? 0)) | 0
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
    const majority = (a & b) ^ (a & c) ^ (b & c)
    ;[h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + s0 + majority) | 0]
  }
  const added = [a, b, c, d, e, f, g, h]
  for (let i = 0; i < 8; i++) state[i] = (state[i] ?? 0) + (added[i] ?? 0)
}
