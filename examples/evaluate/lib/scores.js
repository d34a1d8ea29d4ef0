/** What two models say after the same tokens, held against each other. */

/** Tokens in a block: neighbours are alike, so the error of a mean is taken from the means of blocks. */
export const BLOCK_TOKENS = 64

/** Log of the sum of all exponentials, and the id that is likeliest. */
export function normalize(logits) {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i
  const largest = logits[best]
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - largest)
  return { logSum: largest + Math.log(sum), best }
}

/** The KL divergence of `other` from `original` in nats, over the whole vocabulary. */
export function divergence(original, originalLogSum, other, otherLogSum) {
  let sum = 0
  for (let i = 0; i < original.length; i++) {
    const logProbability = original[i] - originalLogSum
    sum += Math.exp(logProbability) * (logProbability - (other[i] - otherLogSum))
  }
  return sum
}

/** The mean of a number per token, and its standard error over blocks. */
export function meanAndError(values) {
  const blocks = []
  for (let start = 0; start + BLOCK_TOKENS <= values.length; start += BLOCK_TOKENS) {
    blocks.push(mean(values.slice(start, start + BLOCK_TOKENS)))
  }
  const middle = mean(blocks)
  const variance = blocks.reduce((sum, block) => sum + (block - middle) ** 2, 0) / (blocks.length - 1)
  return { mean: mean(values), error: Math.sqrt(variance / blocks.length) }
}

/** The mean of the differences, token by token, and its standard error: what both have in common is not in it. */
export function difference(values, others) {
  return meanAndError(values.map((value, i) => value - others[i]))
}

/** The value that a share of all is not above. */
export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
