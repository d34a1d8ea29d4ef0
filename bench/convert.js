/**
 * `npm run convert [-- --layers N] [-- --rounds N] [-- --folder DIR]`: a Hugging Face folder to GGUF, against `cp` of the same
 * files, and llama.cpp's own converter where CONVERT_HF_TO_GGUF names its script and PYTHON an interpreter that has torch.
 * Linux. As root the page cache is emptied before each run; else the files are in it.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { writeHfFolder } from './lib/hf-folder.js'
import { measureProcess } from './lib/process.js'

const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: tmpdir() },
  },
})
const folder = mkdtempSync(join(values.folder, 'apr-stream-bench-'))
const input = join(folder, 'Qwen3-MoE')
const { CONVERT_HF_TO_GGUF: script, PYTHON: python = 'python3' } = process.env
const cli = join(import.meta.dirname, '../dist/cli.js')

/** Commands that write `output`. The copy is flushed to the disk as well, as the output of `convert` is. */
const variants = {
  'apr-stream convert': (/** @type {string} */ output) => [process.execPath, cli, 'convert', `${input}/`, '-o', output],
  'cp and sync': (/** @type {string} */ output) => ['sh', '-c', 'cp -r "$0" "$1" && sync -f "$1"', input, output],
  ...(script && {
    'convert_hf_to_gguf.py': (/** @type {string} */ output) => [python, script, input, '--outfile', output],
  }),
}

try {
  const bytes = writeHfFolder(input, { layers: Number(values.layers) })
  console.log(`${(bytes / 1e9).toFixed(2)} GB, ${values.layers} layers of 128 experts, 151,936 tokens`)
  const figures = Object.fromEntries(Object.keys(variants).map((name) => [name, { seconds: [], peak: 0 }]))
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, command] of Object.entries(variants)) {
      const output = join(folder, 'out.gguf')
      emptyCache()
      const [program, ...rest] = command(output)
      const { wallSeconds, peakResidentBytes } = await measureProcess(program, rest)
      figures[name].seconds.push(wallSeconds)
      figures[name].peak = Math.max(figures[name].peak, peakResidentBytes ?? 0)
      rmSync(output, { recursive: true })
    }
  }
  const median = (/** @type {number[]} */ all) => all.sort((a, b) => a - b)[Math.floor(all.length / 2)]
  const copy = median(figures['cp and sync'].seconds)
  for (const [name, { seconds, peak }] of Object.entries(figures)) {
    const all = seconds.map((one) => one.toFixed(1)).join(', ')
    console.log(
      `${name.padEnd(24)} ${(median(seconds) / copy).toFixed(2)} x of cp, ${all} s, peak ${(peak / 1e6).toFixed(0)} MB`,
    )
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function emptyCache() {
  execFileSync('sync')
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3')
  } catch {
    // Not root: the files stay where they are.
  }
}
