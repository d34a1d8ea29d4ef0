/**
 * Section 1, its second table: every block type, without importance and with it, one thread, in turn with llama.cpp's library on the same
 * values. Alone as `npm run block-types [-- --rounds N] [-- --type Q4_K]`.
 */
import { realpathSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { DTYPES } from '../dist/model/dtypes.js'
import { quantizeRun } from '../dist/quant/runs/run.js'
import { createSimdKernel } from '../dist/quant/simd.js'
import { gaussianWeights } from './lib/gaussian.js'
import { interleave } from './lib/interleave.js'
import { openLlama } from './peers/llama.js'

/** @typedef {import('../dist/quant/block.js').BlockDType} BlockDType */

const ROW_ELEMENTS = 4096
/** 32 MiB: more than the caches of a core hold. */
const ELEMENTS = 8 * 2 ** 20
/** What is handed over at once, 1 MiB. */
const PIECE = 2 ** 18
/** How long a timed run takes, about. */
const RUN_SECONDS = 0.06

/** How many times the library's rate is asked for: [without importance, with it]. Q8_0 ignores importance. */
const BARS = /** @type {const} */ ({
  ...{ Q2_K: [5, 4], Q3_K: [2.5, 4], Q4_K: [5, 4], Q5_K: [5, 4], Q6_K: [5, 4] },
  ...{ Q4_0: [1.5, 3], Q4_1: [1.5, 4], Q5_0: [1.5, 3], Q5_1: [1.5, 4], Q8_0: [1.5] },
  ...{ IQ4_NL: [1.5, undefined], IQ4_XS: [1.5, undefined] },
})

/**
 * Rates in weights a second of CPU time: both sides compute on this thread, and another program's share of the core does
 * not count. "cached": the same 1 MiB again and again, the fit alone. "memory": the job's own path from F32 in memory and
 * back to it, the means of the rows included, where importance asks for them.
 *
 * @param {{ rounds: number, types?: string[], note: (line: string) => void }} options
 */
export async function benchBlockTypes({ rounds, types = Object.keys(BARS), note }) {
  const llama = await openLlama({ onUnavailable: note })
  const values = gaussianWeights(ELEMENTS, 1)
  // Log-normal, as those of real models are, about.
  const importance = gaussianWeights(ROW_ELEMENTS, 2).map((value) => Math.exp(50 * value))
  const kernel = createSimdKernel()
  const figures = []
  for (const [name, bars] of Object.entries(BARS)) {
    if (!types.includes(name)) continue
    for (const [index, bar] of bars.entries()) {
      const dtype = /** @type {BlockDType} */ (name)
      const weights = index === 1 ? importance : undefined
      const variants = {
        ...variantsOf(kernel, dtype, values, weights),
        ...(llama && peersOf(llama, dtype, values, weights)),
      }
      const rates = await measure(variants, rounds)
      const ratio = (/** @type {string} */ where) =>
        rates[`llama.cpp, ${where}`] && rates[`apr-stream, ${where}`] / rates[`llama.cpp, ${where}`]
      figures.push({
        ...{ dtype, isWeighted: index === 1, bar, rates },
        ratios: { cached: ratio('cached'), memory: ratio('memory') },
      })
    }
  }
  return { version: llama?.version, figures }
}

/** @param {Awaited<ReturnType<typeof benchBlockTypes>>} result @returns {string[][]} rows of a table, its head first */
export function blockTypeTable({ figures }) {
  const mega = (/** @type {number | undefined} */ rate) => (rate ? (rate / 1e6).toFixed(rate < 1e8 ? 1 : 0) : '')
  const times = (/** @type {number | undefined} */ ratio) => (ratio ? ratio.toFixed(2) : '')
  return [
    ['', 'M weights/s', 'llama.cpp', 'ratio', 'bar', 'from memory', 'llama.cpp', 'ratio'],
    ...figures.map(({ dtype, isWeighted, rates, ratios, bar }) => [
      `${dtype}${isWeighted ? ' with importance' : ''}`,
      ...[mega(rates['apr-stream, cached']), mega(rates['llama.cpp, cached']), times(ratios.cached)],
      bar?.toString() ?? '',
      ...[mega(rates['apr-stream, memory']), mega(rates['llama.cpp, memory']), times(ratios.memory)],
    ]),
  ]
}

/** @typedef {Record<string, (piece: number) => void>} Variants Each does one piece, the `piece`th. */

/**
 * @param {import('../dist/quant/kernel.js').Kernel} kernel
 * @param {BlockDType} dtype
 * @param {Float32Array} values
 * @param {Float32Array} [importance]
 * @returns {Variants}
 */
function variantsOf(kernel, dtype, values, importance) {
  const { blockElements } = DTYPES[dtype]
  const target = blocksOf(dtype)
  const fitting = { dtype, fit: /** @type {const} */ ('search'), isWeighted: importance !== undefined }
  const held = kernel.input.length
  const run = importance && {
    importance: { values: importance, matrixElements: PIECE, inMatrix: 0 },
  }
  return {
    'apr-stream, cached': (piece) => {
      if (piece === 0) {
        kernel.input.set(values.subarray(0, held))
        kernel.rowMeanSquares.fill(4e-4)
        for (let i = 0; importance && i < held; i += importance.length) kernel.importance.set(importance, i)
      }
      for (let done = 0; done < PIECE; done += held) kernel.fit(fitting, held / blockElements)
    },
    'apr-stream, memory': (piece) => {
      const part = pieceOf(values, piece)
      const data = new Uint8Array(part.buffer, part.byteOffset, part.byteLength)
      const rows = { dtype: /** @type {const} */ ('F32'), data, elements: PIECE, rowElements: ROW_ELEMENTS }
      quantizeRun({ ...rows, ...run }, fitting, kernel, target)
    },
  }
}

/**
 * @param {import('./peers/llama.js').Llama} llama
 * @param {BlockDType} dtype
 * @param {Float32Array} values
 * @param {Float32Array} [importance]
 * @returns {Variants}
 */
function peersOf(llama, dtype, values, importance) {
  const target = blocksOf(dtype)
  return {
    'llama.cpp, cached': () => llama.quantizeInto(dtype, values.subarray(0, PIECE), ROW_ELEMENTS, target, importance),
    'llama.cpp, memory': (piece) => llama.quantizeInto(dtype, pieceOf(values, piece), ROW_ELEMENTS, target, importance),
  }
}

/** @param {BlockDType} dtype */
function blocksOf(dtype) {
  return new Uint8Array((PIECE / DTYPES[dtype].blockElements) * DTYPES[dtype].blockBytes)
}

/** @param {Float32Array} values @param {number} piece */
function pieceOf(values, piece) {
  const start = (piece * PIECE) % values.length
  return values.subarray(start, start + PIECE)
}

/**
 * @param {Variants} variants
 * @param {number} rounds
 * @returns {Promise<Record<string, number>>} weights a second
 */
async function measure(variants, rounds) {
  // V8 compiles the module anew while the first pieces run.
  const counts = Object.fromEntries(
    Object.entries(variants).map(([name, run]) => {
      timed(run, 4)
      return [name, Math.max(1, Math.round(RUN_SECONDS / (timed(run, 4) / 4)))]
    }),
  )
  const runs = Object.entries(variants).map(([name, run]) => [name, () => timed(run, counts[name])])
  const timings = await interleave(Object.fromEntries(runs), { rounds })
  return Object.fromEntries(
    Object.entries(timings).map(([name, { median }]) => [name, (counts[name] * PIECE) / median]),
  )
}

/** CPU seconds of `count` pieces. @param {(piece: number) => void} run @param {number} count */
function timed(run, count) {
  const start = process.cpuUsage()
  for (let piece = 0; piece < count; piece++) run(piece)
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1e6
}

if (realpathSync(process.argv[1] ?? '.') === fileURLToPath(import.meta.url)) {
  const { values: flags } = parseArgs({
    options: { rounds: { type: 'string', default: '9' }, type: { type: 'string', multiple: true } },
  })
  const note = (/** @type {string} */ line) => console.log(`note: ${line}`)
  const result = await benchBlockTypes({ rounds: Number(flags.rounds), types: flags.type, note })
  for (const row of blockTypeTable(result)) console.log(`| ${row.join(' | ')} |`)
}
