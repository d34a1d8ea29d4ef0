/**
 * GGUF to APR, and back to GGUF: tensors and keys are the same, whatever their types, so the file is too.
 * Usage: node examples/gguf-to-apr.js [input.gguf]
 */
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { aprWriter, convert, ggufReader, inspect, quantize, toApr } from 'apr-stream'
import { outputFolder, sampleFolder, samplePre } from './lib/paths.js'
import { sha256 } from './lib/sha256.js'

const input = process.argv[2] ?? join(outputFolder, 'model.gguf')
// Without an input: a quantized one, of the sample folder.
if (process.argv[2] === undefined) await quantize(sampleFolder, input, { pre: samplePre })

const apr = join(outputFolder, 'model.apr')
const back = join(outputFolder, 'back.gguf')

// The stages one by one; `convert(input, apr)` is the same.
await pipeline(ggufReader(input), toApr(), aprWriter(apr))
const { tensors, metadata } = await inspect(apr)
console.log(`${apr}: ${tensors.length} tensors, ${Object.keys(metadata).length} metadata keys`)

await convert(apr, back)
const isSame = (await sha256(back)) === (await sha256(input))
console.log(`${back}: the same bytes as ${input}: ${isSame ? 'yes' : 'no'}`)
if (!isSame && process.argv[2] === undefined) process.exitCode = 1
