/**
 * Differences of divergence between models of one or several runs of evaluate.js on the same original and tokens, token by token.
 * Usage: node examples/evaluate/differences.js SCORES.json... -- NAME OTHER [NAME OTHER ...]
 */
import { readFileSync } from 'node:fs'
import { difference, meanAndError } from './lib/scores.js'

const values = process.argv.slice(2)
const end = values.indexOf('--')
if (end < 1) throw new Error('usage: differences.js SCORES.json... -- NAME OTHER [NAME OTHER ...]')
const runs = values.slice(0, end).map((path) => JSON.parse(readFileSync(path, 'utf8')))
const scores = new Map(runs.flatMap(({ tokens }) => tokens.map(({ name, kl }) => [name, kl])))
const names = values.slice(end + 1)
if (runs.some(({ original, perplexity }) => original !== runs[0].original || perplexity !== runs[0].perplexity)) {
  throw new Error('the runs are of other originals or tokens')
}
for (let i = 0; i + 1 < names.length; i += 2) {
  const [found, other] = [names[i], names[i + 1]].map((name) => scores.get(name))
  if (found === undefined || other === undefined) throw new Error(`expected some of ${[...scores.keys()].join(', ')}`)
  const { mean, error } = difference(found, other)
  const percent = (100 * mean) / meanAndError(other).mean
  console.log(`${names[i]} less ${names[i + 1]}: ${mean.toFixed(4)} ± ${error.toFixed(4)} (${percent.toFixed(0)} %)`)
}
