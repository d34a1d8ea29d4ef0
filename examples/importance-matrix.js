/**
 * Quantizes with an importance matrix, as `llama-imatrix` writes it: the values that count in use get the smaller errors.
 * Says which tensors the matrix does not tell of. Usage: node examples/importance-matrix.js [input imatrix [output.gguf]]
 */
import { join } from 'node:path'
import { plan, quantize } from 'apr-stream'
import { outputFolder, sampleFolder, sampleMatrix, samplePre } from './lib/paths.js'
import { sha256 } from './lib/sha256.js'

const [, , input = sampleFolder, imatrix = sampleMatrix, output = join(outputFolder, 'model.Q2_K.gguf')] = process.argv
const options = { recipe: 'Q2_K', pre: input === sampleFolder ? samplePre : undefined }

const { warnings } = await plan(input, { ...options, imatrix, output })
for (const warning of warnings) console.warn(`warning: ${warning}`)

const plain = await quantize(input, join(outputFolder, 'plain.Q2_K.gguf'), options)
const weighted = await quantize(input, output, { ...options, imatrix })
for (const report of [plain, weighted]) {
  console.log(`${report.output}: ${report.outputBytes} bytes, ${report.bitsPerWeight.toFixed(2)} bits a weight`)
}
// The same dtypes here, and other bytes in them.
console.log(`the same file: ${(await sha256(plain.output)) === (await sha256(weighted.output)) ? 'yes' : 'no'}`)
