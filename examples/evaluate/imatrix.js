/**
 * Measures importance on a text, as `llama-imatrix` does: the sums of the squares of what each matrix is multiplied with.
 * Usage: node examples/evaluate/imatrix.js --text FILE [--windows 8] [--length 256] MODEL.gguf OUTPUT.gguf
 *
 * For models without experts. Memory holds the model and one batch.
 */
import { readFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { arrayKv, ggufWriter, kv } from 'apr-stream'
import { LlamaModel } from './lib/llama.js'
import { windowsOf } from './lib/windows.js'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: 'string' },
    windows: { type: 'string', default: '8' },
    length: { type: 'string', default: '256' },
    threads: { type: 'string', default: '1' },
  },
})
const [path, output] = positionals
if (options.text === undefined || output === undefined) {
  throw new Error('usage: imatrix.js --text FILE [--windows 8] [--length 256] MODEL.gguf OUTPUT.gguf')
}
const [windows, length] = [Number(options.windows), Number(options.length)]

const sums = new Map()
const model = new LlamaModel(path, { context: length, batch: length, threads: Number(options.threads), onMatrix: add })
const bos = model.bos === undefined ? [] : [model.bos]
const tokens = model.tokenize(readFileSync(options.text, 'utf8'))
for (const [number, window] of windowsOf(tokens, windows, length - bos.length).entries()) {
  model.clear()
  model.read(Int32Array.from([...bos, ...window]))
  process.stderr.write(`\r${number + 1} of ${windows} windows`)
}
process.stderr.write('\n')
model.free()

const tensors = []
const records = []
for (const [name, { squares, count }] of sums) {
  for (const [suffix, values] of [
    ['in_sum2', Float32Array.from(squares)],
    ['counts', Float32Array.of(count)],
  ]) {
    const tensor = { name: `${name}.${suffix}`, dtype: 'F32', shape: [1, values.length], size: values.byteLength }
    tensors.push(tensor)
    records.push({ ...tensor, offset: 0, data: new Uint8Array(values.buffer) })
  }
}
const kvs = [
  kv('general.type', 'string', 'imatrix'),
  arrayKv('imatrix.datasets', 'string', [options.text]),
  kv('imatrix.chunk_count', 'u32', windows),
  kv('imatrix.chunk_size', 'u32', length),
]
const matrix = Object.freeze({ format: 'gguf', kvs, tensors })
await pipeline(
  records.map((record) => ({ ...record, model: matrix })),
  ggufWriter(output),
)
console.log(`${output}: ${sums.size} matrices, ${windows * length} tokens`)

function add(name, row) {
  const found = sums.get(name) ?? { squares: new Float64Array(row.length), count: 0 }
  sums.set(name, found)
  for (let i = 0; i < row.length; i++) found.squares[i] += row[i] * row[i]
  found.count++
}
