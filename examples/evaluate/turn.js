/**
 * The same function in other weights: a Llama with a tied embedding, its residual stream turned, in F32.
 * Usage: node examples/evaluate/turn.js [--seed 1] [--wide] MODEL.gguf OUTPUT.gguf
 *
 * The weights of a model that can only be had quantized lie on the grid of its blocks, which other blocks nearly repeat: what
 * is made of it would look better than it is. Here each four channels of the residual stream are turned by a random orthogonal
 * matrix, and all that reads and writes them with it. The model says the same; its weights are on no grid. A seed is a draw; seed 0
 * turns nothing.
 *
 * --wide makes 768 channels of 576, so that rows are whole super-blocks of 256: four channels then hold three of the model's,
 * and one that was zero before they were turned. A third of the heads is there twice, each time with half of its output.
 */
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { dequantize, ggufReader, ggufWriter, kv, kvValue } from 'apr-stream'
import { randomTurns } from './lib/random.js'

/** Channels that are turned together. */
const TURNED = 4
/** Holds any matrix of a layer. */
const RECORD_BYTES = 16 * 1024 * 1024

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string', default: '1' }, wide: { type: 'boolean', default: false } },
})
const [input, output] = positionals
if (output === undefined) throw new Error('usage: turn.js [--seed 1] [--wide] MODEL.gguf OUTPUT.gguf')

/** The model's own channels among those that are turned together. */
const own = options.wide ? TURNED - 1 : TURNED
const { width, gains } = await look()
const turns = randomTurns(Number(options.seed), width / own, TURNED)
await pipeline(ggufReader(input, { recordBytes: RECORD_BYTES }), turned, ggufWriter(output))

/** What must be known before the first matrix comes: how wide the stream is, and the gains of its norms. */
async function look() {
  const gains = new Map()
  let width
  for await (const { name, dtype, shape, data, model } of ggufReader(input, { recordBytes: RECORD_BYTES })) {
    const { kvs, tensors } = model
    width ??= kvValue(kvs.find(({ key }) => key === 'llama.embedding_length'))
    if (tensors.some((tensor) => tensor.name === 'output.weight')) throw new Error('expected a tied embedding')
    if (shape.length === 1) gains.set(name, gainsOf(dequantize(dtype, data)))
  }
  if (width % own !== 0) throw new Error(`${width} channels are not ${own} at a time`)
  return { width, gains }
}

/** One gain for all that are turned together, which may stay in the norm, and what is left for the matrix behind it. */
function gainsOf(values) {
  const shared = Float64Array.from({ length: values.length / own }, (_, turn) => {
    const squares = values.subarray(turn * own, (turn + 1) * own).reduce((sum, gain) => sum + gain * gain, 0)
    return Math.sqrt(squares / own)
  })
  return { shared, left: Float64Array.from(values, (gain, i) => gain / (shared[Math.floor(i / own)] || 1)) }
}

async function* turned(records) {
  let from, to
  for await (const record of records) {
    if (record.model !== from) {
      from = record.model
      to = Object.freeze({ format: 'gguf', kvs: turnedKvs(from.kvs), tensors: from.tensors.flatMap(turnedTensors) })
    }
    const { name, dtype, shape, size, offset } = record
    const values = dequantize(dtype, record.data)
    for (const tensor of turnedTensors(record)) {
      if (tensor.name !== 'output.weight' && name !== 'token_embd.weight' && record.data.length < size) {
        throw new Error(`${name} comes in several records`)
      }
      const made = Float32Array.from(turnedValues(tensor.name, values, shape))
      yield {
        ...tensor,
        offset: Math.round((offset / size) * tensor.size),
        data: new Uint8Array(made.buffer),
        model: to,
      }
    }
  }
}

/** The sizes of the turned model. Of the embedding come two: the output has a norm before it. */
function turnedTensors({ name, shape }) {
  const scale = (size) => (size / own) * TURNED
  const isWholeRow = /ffn_(gate|up)|token_embd/.test(name)
  const [rows, columns] = [
    isWholeRow ? shape[0] : scale(shape[0]),
    name.includes('ffn_down') ? shape[1] : scale(shape[1]),
  ]
  const made = shape.length === 1 ? [rows] : [rows, columns]
  const tensor = { name, dtype: 'F32', shape: made, size: made.reduce((product, size) => product * size, 4) }
  return name === 'token_embd.weight' ? [tensor, { ...tensor, name: 'output.weight' }] : [tensor]
}

function turnedKvs(kvs) {
  const scaled = ['embedding_length', 'attention.head_count', 'attention.head_count_kv'].map((key) => `llama.${key}`)
  return kvs
    .filter(({ key }) => key !== 'general.quantization_version')
    .map((pair) => {
      const { key, type } = pair
      if (scaled.includes(key)) return kv(key, type, (kvValue(pair) / own) * TURNED)
      // A mean of squares over channels of which some are zero is smaller.
      if (key === 'llama.attention.layer_norm_rms_epsilon') return kv(key, type, (kvValue(pair) * own) / TURNED)
      return key === 'general.file_type' ? kv(key, type, 0) : pair
    })
}

function turnedValues(name, values, shape) {
  const norm = (layer) => gains.get(`${layer}.weight`)
  if (shape.length === 1) {
    const { shared } = gains.get(name)
    return Float64Array.from(
      { length: shared.length * TURNED },
      (_, i) => shared[Math.floor(i / TURNED)] * Math.sqrt(own / TURNED),
    )
  }
  const [block] = /^blk\.\d+/.exec(name) ?? []
  if (/attn_[qkv]/.test(name)) return repeatRows(turnColumns(values, norm(`${block}.attn_norm`).left))
  if (/ffn_(gate|up)/.test(name)) return turnColumns(values, norm(`${block}.ffn_norm`).left)
  if (name.includes('attn_output')) return turnRows(...repeatColumns(values, shape[1]))
  if (name.includes('ffn_down')) return turnRows(values, shape[1])
  if (name === 'token_embd.weight') return turnColumns(values)
  if (name === 'output.weight') return turnColumns(values, norm('output_norm').left)
  throw new Error(`expected the tensors of a llama, found ${name}`)
}

/** Rows that read the stream. */
function turnColumns(values, left) {
  const made = new Float64Array((values.length / own) * TURNED)
  for (let i = 0; i < values.length; i += own) {
    const column = i % width
    const turn = turns[column / own]
    for (let to = 0; to < TURNED; to++) {
      let sum = 0
      for (let k = 0; k < own; k++) sum += turn[to][k] * values[i + k] * (left?.[column + k] ?? 1)
      made[(i / own) * TURNED + to] = sum
    }
  }
  return made
}

/** Rows that write the stream. */
function turnRows(values, columns) {
  const made = new Float64Array((values.length / own) * TURNED)
  for (const [number, turn] of turns.entries()) {
    for (let to = 0; to < TURNED; to++) {
      for (let column = 0; column < columns; column++) {
        let sum = 0
        for (let k = 0; k < own; k++) sum += turn[to][k] * values[(number * own + k) * columns + column]
        made[(number * TURNED + to) * columns + column] = sum
      }
    }
  }
  return made
}

/** The first third of the heads again, behind all of them. */
function repeatRows(values) {
  if (own === TURNED) return values
  const made = new Float64Array((values.length / own) * TURNED)
  made.set(values)
  made.set(values.subarray(0, values.length / own), values.length)
  return made
}

/** The columns of those heads, halved and once more. */
function repeatColumns(values, columns) {
  if (own === TURNED) return [values, columns]
  const third = columns / own
  const madeColumns = columns + third
  const made = new Float64Array((values.length / columns) * madeColumns)
  for (let i = 0; i < made.length; i++) {
    const row = Math.floor(i / madeColumns)
    const column = i % madeColumns
    const value = values[row * columns + (column < columns ? column : column - columns)]
    made[i] = column < third || column >= columns ? value / 2 : value
  }
  return [made, madeColumns]
}
