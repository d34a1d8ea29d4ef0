/**
 * Takes part of a model, renames it and says so in the metadata. The stages tell the writer what comes, so it places
 * every tensor at once. Usage: node examples/filter-tensors.js [input [output [part of a name]]]
 */
import { pipeline } from 'node:stream/promises'
import { aprReader, aprWriter, filterTensors, inspect, mapMetadata, mapTensors, q4k } from 'apr-stream'
import { input, output } from './lib/paths.js'

const part = process.argv[4] ?? 'conv'

await pipeline(
  aprReader(input),
  filterTensors(({ name }) => name.includes(part)),
  mapTensors(({ name }) => ({ name: `part.${name}` })),
  mapMetadata(({ name }) => ({ name: `${name}, only ${part}` })),
  q4k(),
  aprWriter(output),
)

const { metadata, parameters, tensors } = await inspect(output)
console.log(`${output}: "${metadata.name}", ${parameters} parameters`)
for (const { name, dtype, shape } of tensors) console.log(`  ${dtype.padEnd(5)} ${name} [${shape.join(', ')}]`)
