/**
 * The fit "refined" beside "search", and llama.cpp's: weights a second of CPU time on one thread, in turn, and the relative
 * error of every family of data of the tests. `npm run fits [-- --rounds N] [-- --type Q4_K]`.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { dequantize } from '../dist/index.js'
import { DTYPES } from '../dist/model/dtypes.js'
import { createSimdKernel } from '../dist/quant/simd.js'
import { gaussianWeights } from './lib/gaussian.js'
import { interleave } from './lib/interleave.js'
import { openLlama } from './peers/llama.js'

/** @typedef {'Q2_K' | 'Q3_K' | 'Q4_K' | 'Q5_K' | 'Q6_K'} Refined */
/** @typedef {'search' | 'refined'} Fit */

const TYPES = /** @type {const} */ (['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'])
const FITS = /** @type {const} */ (['search', 'refined'])
const ROW_ELEMENTS = 4096
/** Times that a timed run does what the kernel holds. */
const REPEATS = 20

const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, type: { type: 'string', multiple: true } },
})
const fixture = (/** @type {string} */ name) =>
  Uint8Array.from(readFileSync(new URL(`../test/fixtures/q4k/${name}`, import.meta.url)))
const input = new Float32Array(fixture('input.f32').buffer)
const families = JSON.parse(new TextDecoder().decode(fixture('families.json')))
const kernel = createSimdKernel()
const held = kernel.input.length
const values = gaussianWeights(held, 1)
const importance = gaussianWeights(ROW_ELEMENTS, 2).map((value) => Math.exp(50 * value))
const llama = await openLlama({ onUnavailable: (reason) => console.log(`note: ${reason}`) })

console.log('| | search, M/s | refined, M/s | ratio | llama.cpp, M/s |')
const types = TYPES.filter((name) => flags.type?.includes(name) ?? true)
for (const dtype of types) for (const weights of [undefined, importance]) await rates(dtype, weights)
console.log(`\n| relative error, % | ${types.map((dtype) => `${dtype}, search | refined`).join(' | ')} |`)
for (const { name, firstBlock, blocks } of families) {
  const x = input.subarray(firstBlock * 256, (firstBlock + blocks) * 256)
  const cells = types.flatMap((dtype) => FITS.map((fit) => (100 * relativeError(dtype, fit, x)).toFixed(3)))
  console.log(`| ${[name, ...cells].join(' | ')} |`)
}

/** @param {Refined} dtype @param {Float32Array | undefined} weights */
async function rates(dtype, weights) {
  kernel.input.set(values)
  for (let i = 0; weights && i < held; i += ROW_ELEMENTS) kernel.importance.set(weights, i)
  const blocks = new Uint8Array((held / 256) * DTYPES[dtype].blockBytes)
  const work = {
    search: () => kernel.fit({ dtype, fit: 'search', isWeighted: weights !== undefined }, held / 256),
    refined: () => kernel.fit({ dtype, fit: 'refined', isWeighted: weights !== undefined }, held / 256),
    ...(llama && { 'llama.cpp': () => llama.quantizeInto(dtype, values, ROW_ELEMENTS, blocks, weights) }),
  }
  const runs = Object.entries(work).map(([name, run]) => [name, () => timed(run)])
  const timings = await interleave(Object.fromEntries(runs), { rounds: Number(flags.rounds) })
  const rate = (/** @type {string} */ name) => (timings[name] ? (held * REPEATS) / timings[name].median / 1e6 : NaN)
  const [search, refined] = [rate('search'), rate('refined')]
  const cells = [search.toFixed(1), refined.toFixed(1), (refined / search).toFixed(2), rate('llama.cpp').toFixed(1)]
  console.log(`| ${dtype}${weights ? ' with importance' : ''} | ${cells.join(' | ')} |`)
}

/** CPU seconds. @param {() => unknown} run */
function timed(run) {
  const start = process.cpuUsage()
  for (let i = 0; i < REPEATS; i++) run()
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1e6
}

/** @param {Refined} dtype @param {Fit} fit @param {Float32Array} x */
function relativeError(dtype, fit, x) {
  kernel.input.set(x)
  kernel.fit({ dtype, fit }, x.length / 256)
  const decoded = dequantize(dtype, kernel.output.slice(0, (x.length / 256) * DTYPES[dtype].blockBytes))
  const errors = x.reduce((sum, v, i) => sum + (v - decoded[i]) ** 2, 0)
  return errors === 0 ? 0 : Math.sqrt(errors / x.reduce((sum, v) => sum + v * v, 0))
}
