/**
 * A Transform of your own between the stages: it measures the F32 tensors on their way to the file.
 * Usage: node examples/custom-transform.js [input [output]]
 */
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { aprReader, aprWriter, q4k } from 'apr-stream'
import { input, output } from './lib/paths.js'

/** Passes every record, and adds up what `statistics` is to hold of its tensor. */
function measure(statistics) {
  return new Transform({
    objectMode: true,
    // Records, not bytes: Node's default of 16 would hold 16 records of up to 2 MiB on each side.
    highWaterMark: 1,
    transform(record, _encoding, done) {
      if (record.dtype === 'F32') add(statistics, record)
      // Look before you pass: the record's memory belongs to the next stage from here on.
      done(null, record)
    },
  })
}

/** A tensor larger than recordBytes comes in several records, so everything is a running total. */
function add(statistics, { name, data }) {
  const total = statistics.get(name) ?? { elements: 0, min: Infinity, max: -Infinity, sum: 0, squares: 0 }
  statistics.set(name, total)
  for (const value of new Float32Array(data.buffer, data.byteOffset, data.length / 4)) {
    total.elements++
    total.min = Math.min(total.min, value)
    total.max = Math.max(total.max, value)
    total.sum += value
    total.squares += value * value
  }
}

const statistics = new Map()
await pipeline(aprReader(input), measure(statistics), q4k(), aprWriter(output))

console.table(
  [...statistics].map(([tensor, { elements, min, max, sum, squares }]) => ({
    tensor,
    elements,
    min: Number(min.toPrecision(4)),
    max: Number(max.toPrecision(4)),
    mean: Number((sum / elements).toPrecision(4)),
    deviation: Number(Math.sqrt(squares / elements - (sum / elements) ** 2).toPrecision(4)),
  })),
)
