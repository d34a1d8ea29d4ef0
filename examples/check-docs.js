/**
 * Runs every js block of README.md and docs/*.md as a program of its own, in a fresh folder that holds the sample model
 * as model.apr, Hugging Face models as Tiny-Llama/ and Qwen3-MoE/, and one as model.gguf and model.safetensors, and fails
 * when one fails. Usage: node examples/check-docs.js [file ...]
 *
 * The folders are inside the repository, so that the programs find this package by its own name.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'

const TIMEOUT_MS = 60_000
const root = join(import.meta.dirname, '..')
const sample = join(import.meta.dirname, 'models', 'silero-vad.apr')
const sampleFolder = join(root, 'test', 'fixtures', 'hf', 'small', 'models', 'tiny-llama-f32')
const models = join(root, 'test', 'fixtures', 'hf', 'small')

/** The js blocks of a Markdown file, with the line that each starts at. */
function* blocksOf(file) {
  const lines = readFileSync(file, 'utf8').split('\n')
  for (let i = 0; i < lines.length; i++) {
    if (lines[i] !== '```js') continue
    const end = lines.indexOf('```', i)
    yield { line: i + 2, code: lines.slice(i + 1, end).join('\n') }
    i = end
  }
}

function run(code, folder) {
  copyFileSync(sample, join(folder, 'model.apr'))
  cpSync(sampleFolder, join(folder, 'Tiny-Llama'), { recursive: true })
  cpSync(join(models, 'models', 'golden-qwen3moe-4x64'), join(folder, 'Qwen3-MoE'), { recursive: true })
  copyFileSync(join(models, 'gguf', 'qwen3moe-stacked.convert.gguf'), join(folder, 'model.gguf'))
  copyFileSync(join(models, 'models', 'qwen3moe-stacked', 'model.safetensors'), join(folder, 'model.safetensors'))
  writeFileSync(join(folder, 'example.mjs'), code)
  return spawnSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8', timeout: TIMEOUT_MS })
}

const documents = readdirSync(join(root, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .sort()
  .map((name) => join(root, 'docs', name))
const named = process.argv.slice(2).map((path) => resolve(path))
const files = named.length > 0 ? named : [join(root, 'README.md'), ...documents]

mkdirSync(join(root, 'demo'), { recursive: true })
let failed = 0
for (const file of files) {
  for (const { line, code } of blocksOf(file)) {
    const folder = mkdtempSync(join(root, 'demo', 'docs-'))
    try {
      const { status, error, stdout, stderr } = run(code, folder)
      if (status !== 0) failed++
      console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${relative(root, file)}:${line}`)
      if (status !== 0) console.log(`${stdout}${stderr}${error?.message ?? ''}`)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
process.exitCode = failed === 0 ? 0 : 1
