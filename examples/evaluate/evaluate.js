/**
 * Holds quantized models against their original on a text: KL divergence, perplexity, and how often both say the same next.
 * Usage: node examples/evaluate/evaluate.js --text FILE [options] ORIGINAL.gguf MODEL.gguf...
 *
 * All models read the same tokens in the same batches, side by side; memory holds the models and one batch of each.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { LlamaModel } from './lib/llama.js'
import { difference, divergence, meanAndError, normalize, quantile } from './lib/scores.js'
import { windowsOf } from './lib/windows.js'

const { values: options, positionals: paths } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: 'string' },
    windows: { type: 'string', default: '8' },
    length: { type: 'string', default: '256' },
    batch: { type: 'string', default: '64' },
    threads: { type: 'string', default: '1' },
    json: { type: 'string' },
  },
})
const [originalPath, ...otherPaths] = paths
if (options.text === undefined || originalPath === undefined || otherPaths.length === 0) {
  throw new Error(
    'usage: evaluate.js --text FILE [--windows 8] [--length 256] [--json FILE] ORIGINAL.gguf MODEL.gguf...',
  )
}
const length = Number(options.length)
const batch = Math.min(Number(options.batch), length)

const open = (path) => new LlamaModel(path, { context: length, batch, threads: Number(options.threads) })
const original = open(originalPath)
const others = otherPaths.map((path) => ({ path, model: open(path), kl: [], loss: [], same: [] }))
const originalLoss = []
const bos = original.bos === undefined ? [] : [original.bos]

const windows = windowsOf(
  original.tokenize(readFileSync(options.text, 'utf8')),
  Number(options.windows),
  length - bos.length,
)
for (const [number, window] of windows.entries()) {
  const tokens = Int32Array.from([...bos, ...window])
  for (const { model } of [{ model: original }, ...others]) model.clear()
  for (let start = 0; start < length; start += batch) readBatch(tokens, start)
  process.stderr.write(`\r${number + 1} of ${windows.length} windows`)
}
process.stderr.write('\n')
report()
for (const { model } of [{ model: original }, ...others]) model.free()

/** Reads one batch with all models, and scores what each says after every token but the last, whose next is not known. */
function readBatch(tokens, start) {
  const part = tokens.slice(start, start + batch)
  for (const { model } of [{ model: original }, ...others]) model.read(part)
  for (let i = 0; i < part.length && start + i + 1 < tokens.length; i++) {
    const next = tokens[start + i + 1]
    const logits = original.logits(i)
    const { logSum, best } = normalize(logits)
    originalLoss.push(logSum - logits[next])
    for (const { model, kl, loss, same } of others) {
      const found = model.logits(i)
      const normal = normalize(found)
      kl.push(divergence(logits, logSum, found, normal.logSum))
      loss.push(normal.logSum - found[next])
      same.push(normal.best === best ? 1 : 0)
    }
  }
}

function report() {
  const results = others.map(({ path, kl, loss, same }) => ({
    name: basename(path, '.gguf'),
    bytes: statSync(path).size,
    kl: meanAndError(kl),
    klMedian: quantile(kl, 0.5),
    kl99: quantile(kl, 0.99),
    perplexity: Math.exp(meanAndError(loss).mean),
    lossChange: difference(loss, originalLoss),
    same: meanAndError(same),
    againstFirst: difference(kl, others[0].kl),
  }))
  const perplexity = Math.exp(meanAndError(originalLoss).mean)
  console.log(`${basename(originalPath)}: ${originalLoss.length} tokens, perplexity ${perplexity.toFixed(4)}`)
  console.table(
    results.map(({ name, bytes, kl, klMedian, kl99, perplexity, same, againstFirst }) => ({
      model: name,
      MB: (bytes / 1e6).toFixed(1),
      'KL, nats': plusMinus(kl),
      'KL 50 %, 99 %': `${show(klMedian)}, ${show(kl99)}`,
      'KL, less that of the first': plusMinus(againstFirst),
      perplexity: perplexity.toFixed(3),
      'same next, %': plusMinus({ mean: same.mean * 100, error: same.error * 100 }),
    })),
  )
  if (options.json === undefined) return
  const tokens = others.map(({ path, kl }) => ({ name: basename(path, '.gguf'), kl }))
  writeFileSync(options.json, JSON.stringify({ original: originalPath, perplexity, results, tokens }))
}

function plusMinus({ mean, error }) {
  return `${show(mean)} ± ${error.toPrecision(2)}`
}

function show(value) {
  return Math.abs(value) < 1e-4 ? value.toExponential(1) : value.toPrecision(3)
}
