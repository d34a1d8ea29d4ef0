/**
 * A Hugging Face folder to Q4_K_M, in one pass and constant memory: the bytes that llama.cpp's converter and llama-quantize
 * make one after the other. Usage: node examples/folder-to-q4-k-m.js [folder [output.gguf [pre]]]
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { plan, quantize } from 'apr-stream'
import { outputFolder, sampleExpected, sampleFolder, samplePre } from './lib/paths.js'
import { sha256 } from './lib/sha256.js'

const input = process.argv[2] ?? sampleFolder
const output = process.argv[3] ?? join(outputFolder, 'model.Q4_K_M.gguf')
// How the tokenizer splits text is found by running it; the sample's is a made-up one that nobody knows.
const pre = process.argv[4] ?? (input === sampleFolder ? samplePre : undefined)
const options = { recipe: 'Q4_K_M', pre }

// What each tensor becomes, and why, is known from the index.
const planned = await plan(input, { ...options, output })
for (const { name, shape, dtype, outputDType, rule } of planned.decisions) {
  console.log(`  ${dtype} -> ${outputDType.padEnd(4)}  ${name} [${shape.join(', ')}]  ${rule}`)
}
for (const warning of planned.warnings) console.warn(`warning: ${warning}`)

const report = await quantize(input, output, options)
console.log(
  `${report.output}: ${report.outputBytes} bytes, ${report.ratio.toFixed(2)} times smaller, ${report.bitsPerWeight.toFixed(2)} bits a weight`,
)
if (input === sampleFolder) {
  const expected = JSON.parse(readFileSync(sampleExpected, 'utf8')).quantize.Q4_K_M.sha256
  const isSame = (await sha256(output)) === expected
  console.log(`the bytes of llama-quantize: ${isSame ? 'yes' : 'no'}`)
  if (!isSame) process.exitCode = 1
}
