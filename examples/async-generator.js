/**
 * An async generator as a stage: it sets weights near zero to zero before they are quantized.
 * Usage: node examples/async-generator.js [input [output]]
 */
import { pipeline } from 'node:stream/promises'
import { aprReader, aprWriter, q4k, selectByDefault } from 'apr-stream'
import { input, output } from './lib/paths.js'

const THRESHOLD = 0.001

let zeroed = 0
let seen = 0

async function* prune(records) {
  for await (const record of records) {
    // Only what will be quantized: a bias or a norm keeps its small values.
    if (record.dtype === 'F32' && selectByDefault(record)) {
      const { data } = record
      const values = new Float32Array(data.buffer, data.byteOffset, data.length / 4)
      values.forEach((value, i) => {
        if (value === 0 || Math.abs(value) >= THRESHOLD) return
        // The record is this stage's until it is passed on, so its bytes may be changed in place.
        values[i] = 0
        zeroed++
      })
      seen += values.length
    }
    yield record
  }
}

await pipeline(aprReader(input), prune, q4k(), aprWriter(output))

console.log(`${zeroed} of ${seen} weights were within ${THRESHOLD} of zero and are zero now`)
console.log(output)
