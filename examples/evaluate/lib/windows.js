/** Pieces of a text, spread evenly over it: each is read from its first token on, as if it were all there is. */
export function windowsOf(tokens, count, length) {
  if (tokens.length < count * length) {
    throw new Error(`the text has ${tokens.length} tokens: ${count} windows of ${length} need ${count * length}`)
  }
  const step = count === 1 ? 0 : (tokens.length - length) / (count - 1)
  return Array.from({ length: count }, (_, i) => {
    const start = Math.floor(i * step)
    return tokens.slice(start, start + length)
  })
}
