/**
 * Renames tensors of safetensors: reader, mapTensors, writer. The bytes of the tensors pass as they are, and the index of
 * the output has the new names. Usage: node examples/rename-safetensors.js [folder or file [output folder [from [to]]]]
 */
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { inspect, mapTensors, safetensorsReader, safetensorsWriter } from 'apr-stream'
import { outputFolder, sampleFolder } from './lib/paths.js'

const input = process.argv[2] ?? sampleFolder
const output = process.argv[3] ?? join(outputFolder, 'renamed/')
const from = process.argv[4] ?? 'model.'
const to = process.argv[5] ?? 'language_model.'

await pipeline(
  safetensorsReader(input),
  mapTensors(({ name }) => ({ name: name.startsWith(from) ? to + name.slice(from.length) : name })),
  // Shards of a megabyte at the most; without this, one file.
  safetensorsWriter(output, { shardMaxBytes: 1_000_000 }),
)

const { tensors } = await inspect(output)
for (const { name, dtype, shape } of tensors) console.log(`  ${dtype.padEnd(4)} ${name} [${shape.join(', ')}]`)
console.log(`${output}: ${tensors.length} tensors, ${tensors.filter(({ name }) => name.startsWith(to)).length} renamed`)
