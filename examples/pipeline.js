/**
 * The three streams, joined by Node's own pipeline. It waits for the end, passes the first error on, and closes every
 * stage. Usage: node examples/pipeline.js [input [output]]
 */
import { stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { aprReader, aprWriter, q4k } from 'apr-stream'
import { input, output } from './lib/paths.js'

await pipeline(aprReader(input), q4k(), aprWriter(output))

const before = await stat(input)
const after = await stat(output)
console.log(`${input}: ${before.size} bytes`)
console.log(`${output}: ${after.size} bytes`)
