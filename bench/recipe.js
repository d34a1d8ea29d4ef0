/**
 * `npm run recipe [-- --layers N] [-- --rounds N] [-- --threads N] [-- --folder DIR]`: a Hugging Face folder in F16 to Q4_K_M
 * in GGUF, in turn with llama.cpp's quantizer, whose input is the GGUF already. The bytes must be the same. Linux.
 */
import { createHash } from 'node:crypto'
import { createReadStream, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { convert, plan } from '../dist/index.js'
import { writeHfFolder } from './lib/hf-folder.js'
import { measureProcess } from './lib/process.js'
import { llamaQuantize } from './peers/llama-quantize.js'

const { values } = parseArgs({
  options: {
    // 2 GB: 1 billion weights.
    layers: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    folder: { type: 'string', default: tmpdir() },
  },
})
const threads = Number(values.threads)
const folder = mkdtempSync(join(values.folder, 'apr-stream-bench-'))
const input = join(folder, 'Qwen2.5-1B')
const whole = join(folder, 'whole.gguf')
const cli = join(import.meta.dirname, '../dist/cli.js')

/** Each writes `output` in a process of its own. */
const variants = {
  'apr-stream, from the folder': (/** @type {string} */ output) => ours(`${input}/`, output),
  'apr-stream, from GGUF': (/** @type {string} */ output) => ours(whole, output),
  'llama.cpp, from GGUF': (/** @type {string} */ output) => llamaQuantize(whole, output, 'Q4_K_M', threads),
}

function ours(/** @type {string} */ from, /** @type {string} */ output) {
  const options = ['-s', 'Q4_K_M', '-o', output, '--threads', String(threads), '--mode', 'stream', '--json']
  return measureProcess(process.execPath, [cli, 'quantize', from, ...options])
}

try {
  const bytes = writeHfFolder(input, { layers: Number(values.layers), kind: 'dense' })
  await convert(input, whole)
  const { decisions } = await plan(whole, { recipe: 'Q4_K_M' })
  const weights = decisions.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0)
  console.log(`${(bytes / 1e9).toFixed(2)} GB, ${(weights / 1e6).toFixed(0)} M weights, ${threads} threads`)
  const runs = Object.fromEntries(Object.keys(variants).map((name) => [name, /** @type {any[]} */ ([])]))
  const hashes = new Set()
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, run] of Object.entries(variants)) {
      const output = join(folder, 'out.gguf')
      runs[name].push(await run(output))
      if (round === 0) hashes.add(await sha256(output))
      rmSync(output)
    }
  }
  console.log(hashes.size === 1 ? 'all files are the same' : 'THE FILES DIFFER')
  const median = (/** @type {string} */ name, /** @type {string} */ key) =>
    runs[name].map((run) => run[key]).sort((a, b) => a - b)[Math.floor(runs[name].length / 2)]
  console.log('| | seconds | CPU s | M weights/s | times llama.cpp | of its CPU s | peak RSS, MB |')
  for (const name of Object.keys(variants)) {
    const times = (/** @type {string} */ key) => (median('llama.cpp, from GGUF', key) / median(name, key)).toFixed(2)
    const seconds = median(name, 'wallSeconds')
    const rate = weights / seconds / 1e6
    const peak = Math.max(...runs[name].map((run) => run.peakResidentBytes)) / 1e6
    const cells = [seconds.toFixed(1), median(name, 'cpuSeconds').toFixed(1), rate.toFixed(0)]
    console.log(`| ${[name, ...cells, times('wallSeconds'), times('cpuSeconds'), peak.toFixed(0)].join(' | ')} |`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}

async function sha256(/** @type {string} */ path) {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}
