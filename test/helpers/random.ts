/**
 * Random bits that are the same on every machine and in every run: the generator "mulberry32".
 * @returns a function that gives the next 32 bits, as a whole number from 0 to 2^32-1
 */
export function randomBits(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return (bits ^ (bits >>> 14)) >>> 0
  }
}
