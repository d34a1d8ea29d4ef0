/**
 * Splits a GGUF model into files of a size, as a host with a limit wants them, and joins them again. Both are conversions
 * of a format to itself, and safetensors shards work alike. Usage: node examples/split-and-join.js [input.gguf [bytes]]
 */
import { join } from 'node:path'
import { convert } from 'apr-stream'
import { outputFolder, sampleFolder, samplePre } from './lib/paths.js'
import { sha256 } from './lib/sha256.js'

const input = process.argv[2] ?? join(outputFolder, 'model.gguf')
if (process.argv[2] === undefined) await convert(sampleFolder, input, { pre: samplePre })
const splitMaxBytes = Number(process.argv[3] ?? 500_000)

// All files appear, or none. Their names say how many they are.
const { files } = await convert(input, join(outputFolder, 'parts.gguf'), { splitMaxBytes })
for (const { name, bytes } of files) console.log(`  ${name}: ${bytes} bytes`)

// The first file names the others.
const joined = join(outputFolder, 'joined.gguf')
await convert(join(outputFolder, files[0].name), joined)
const isSame = (await sha256(joined)) === (await sha256(input))
console.log(`${joined}: the same bytes as ${input}: ${isSame ? 'yes' : 'no'}`)
if (!isSame && process.argv[2] === undefined) process.exitCode = 1
