/**
 * A recipe with rules of your own: patterns say which tensors get another dtype. Compares sizes first, from plans alone.
 * Usage: node examples/recipe-types.js [input [output.gguf]]
 */
import { join } from 'node:path'
import { plan, quantize } from 'apr-stream'
import { outputFolder, sampleFolder, samplePre } from './lib/paths.js'

const input = process.argv[2] ?? sampleFolder
const output = process.argv[3] ?? join(outputFolder, 'model.gguf')
const pre = input === sampleFolder ? samplePre : undefined

// Regular expressions, searched in the names that tensors have in GGUF; the first that is found counts.
const types = {
  'blk\\.0\\.': 'Q8_0',
  'attn_(v|output)': 'Q6_K',
  ffn_: 'Q4_K',
}
const choices = {
  'as it is': {},
  'own rules': { types },
  'own rules, output in Q8_0': { types, outputType: 'Q8_0' },
  'the same dtype for all': { pure: true },
}
for (const [what, choice] of Object.entries(choices)) {
  const { outputBytes, bitsPerWeight, outputDTypes } = await plan(input, { recipe: 'Q4_K_M', ...choice, pre, output })
  const counts = Object.entries(outputDTypes).map(([dtype, { tensors }]) => `${tensors} ${dtype}`)
  console.log(`${what}: ${outputBytes} bytes, ${bitsPerWeight.toFixed(2)} bits a weight: ${counts.join(', ')}`)
}

const { decisions } = await plan(input, { recipe: 'Q4_K_M', types, pre, output })
for (const { name, outputDType } of decisions.filter(({ reason }) => reason === 'pattern')) {
  console.log(`  ${outputDType.padEnd(4)} ${name}`)
}
const report = await quantize(input, output, { recipe: 'Q4_K_M', types, pre })
console.log(`${report.output}: ${report.outputBytes} bytes`)
