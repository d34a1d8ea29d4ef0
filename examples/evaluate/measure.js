/**
 * All that docs/quality.md tells of one draw: turns a model, quantizes it in each way, and evaluates what came out.
 * Usage: node examples/evaluate/measure.js --text FILE --calibration FILE [--seed 1] [--wide] [--refined] [--recipes Q4_K_M] MODEL.gguf FOLDER
 *
 * --refined adds `fit: 'refined'`. What FOLDER already holds of the draw is not made again.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { quantize } from 'apr-stream'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: 'string' },
    calibration: { type: 'string' },
    seed: { type: 'string', default: '1' },
    wide: { type: 'boolean', default: false },
    refined: { type: 'boolean', default: false },
    recipes: { type: 'string', default: 'Q3_K_M,Q4_K_M,Q5_K_M' },
    windows: { type: 'string', default: '4' },
  },
})
const [model, folder] = positionals
const { text, calibration, seed, wide, windows } = options
if (text === undefined || calibration === undefined || folder === undefined) {
  throw new Error('usage: measure.js --text FILE --calibration FILE [--seed 1] [--wide] MODEL.gguf FOLDER')
}

const draw = `${wide ? 'wide' : 'narrow'}-${seed}`
mkdirSync(folder, { recursive: true })
const place = (name) => join(folder, `${draw}.${name}.gguf`)
const original = place('F32')
const matrix = place('imatrix')
if (!existsSync(original)) run('turn.js', '--seed', seed, ...(wide ? ['--wide'] : []), model, original)
if (!existsSync(matrix)) run('imatrix.js', '--text', calibration, '--windows', '8', original, matrix)

const importances = { none: {}, moments: { importance: 'moments' }, text: { imatrix: matrix } }
for (const recipe of options.recipes.split(',')) {
  const outputs = []
  for (const [name, importance] of Object.entries(importances)) {
    outputs.push(await make(`${recipe}.${name}`, { recipe, ...importance }))
  }
  for (const [name, importance] of options.refined ? Object.entries(importances) : []) {
    outputs.push(await make(`${recipe}.refined-${name}`, { recipe, fit: 'refined', ...importance }))
  }
  // Types chosen for the size of what the recipe makes without importance.
  const targetBytes = statSync(place(`${recipe}.none`)).size
  for (const [name, importance] of Object.entries(importances)) {
    outputs.push(await make(`${recipe}-size.${name}`, { targetBytes, ...importance }))
  }
  const json = join(folder, `${draw}.${recipe}.json`)
  run('evaluate.js', '--text', text, '--windows', windows, '--json', json, original, ...outputs)
}

async function make(name, choices) {
  const output = place(name)
  if (!existsSync(output)) await quantize(original, output, { ...choices, threads: 1 })
  return output
}

function run(program, ...values) {
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, program), ...values], { stdio: 'inherit' })
  if (status !== 0) throw new Error(`${program} ended with ${status}`)
}
