/**
 * Importance from the weights alone: the second moment of every channel, carried through the network as if channels were
 * independent of each other and their means zero. No text and no tokenizer is needed, and each weight is read once at the
 * most. All sums are in f64.
 *
 *     res[j] = mean over the vocabulary of E[t][j]^2
 *     in each layer:
 *       a[j] = res[j] / mean(res) * attn_norm[j]^2                      importance of attn_q, attn_k, attn_v
 *       v[i] = sum_j Wv[i][j]^2 a[j] + bv[i]^2; o: v, each head repeated for the query heads that read it
 *                                                                       importance of attn_output
 *       res[r] += 0.5 * sum_i Wo[r][i]^2 o[i] + bo[r]^2                 attention averages: 0.5 is a guess
 *       f[j] = res[j] / mean(res) * ffn_norm[j]^2                       importance of ffn_gate, ffn_up
 *       h[i] = E[silu(N(0, G[i]))^2] * sum_j Wup[i][j]^2 f[j], with G[i] = sum_j Wgate[i][j]^2 f[j]
 *                                                                       importance of ffn_down
 *       res[r] += sum_i Wdown[r][i]^2 h[i]
 *
 * Of experts each is taken for as likely as any other, and for one of `used` whose results are added with a weight of
 * 1 / used each: their sum has 1 / used of the mean over the experts. Norms of queries and keys change nothing that is
 * carried on.
 */
import { columnsOf, matricesOf, rowsOf, type TensorInfo } from '../../model/tensor.js'
import { type Layer, type Network } from './network.js'
import { meanSquareOfSilu } from './silu.js'

/** What is asked of a model's weights. Tensors are those of the network. */
export interface Weights {
  /** All numbers of a small tensor. */
  vector(tensor: TensorInfo): Promise<Float32Array>
  /** Of each column of a matrix the mean of the squares. */
  columnSquares(tensor: TensorInfo): Promise<Float64Array>
  /**
   * Of each row of all matrices the sum of the squares, each times what its column counts.
   * @param columns what the columns count: of one matrix, for all of them, or of each
   */
  rowSquares(tensor: TensorInfo, columns: Float64Array): Promise<Float64Array>
}

/** The importance of a tensor's columns. */
export interface Moments {
  readonly tensor: TensorInfo
  /** Of one matrix, which then counts for all of them, or of each. */
  readonly values: Float64Array
}

/** Attention averages values of several places, which are not the same: how much that leaves, a guess. */
const LEFT_BY_ATTENTION = 0.5

/** Tensors whose columns get an importance, in the order in which they get it. */
export function weightedTensors({ layers }: Network): TensorInfo[] {
  return layers.flatMap(({ query, key, value, attentionOutput, gate, up, down }) => [
    ...[query, key, value, attentionOutput],
    ...[gate, up, down],
  ])
}

/** The importance of the tensors of a network, one after the other. */
export async function* momentsOf({ embedding, layers }: Network, weights: Weights): AsyncGenerator<Moments> {
  const residual = await weights.columnSquares(embedding)
  for (const layer of layers) {
    yield* attention(layer, residual, weights)
    yield* feedForward(layer, residual, weights)
  }
}

async function* attention(layer: Layer, residual: Float64Array, weights: Weights): AsyncGenerator<Moments> {
  const { query, key, value, attentionOutput, headElements, queriesPerHead } = layer
  const input = normed(residual, await weights.vector(layer.attentionNorm))
  for (const tensor of [query, key, value]) yield { tensor, values: input }
  const values = await weights.rowSquares(value, input)
  await addBias(values, layer.valueBias, weights)
  const heads = values.length / headElements
  const repeated = new Float64Array(values.length * queriesPerHead)
  for (let head = 0; head < heads; head++) {
    const one = values.subarray(head * headElements, (head + 1) * headElements)
    for (let i = 0; i < queriesPerHead; i++) repeated.set(one, (head * queriesPerHead + i) * headElements)
  }
  yield { tensor: attentionOutput, values: repeated }
  const output = await weights.rowSquares(attentionOutput, repeated)
  add(residual, output, LEFT_BY_ATTENTION)
  await addBias(residual, layer.attentionOutputBias, weights)
}

async function* feedForward(layer: Layer, residual: Float64Array, weights: Weights): AsyncGenerator<Moments> {
  const { gate, up, down, experts, expertsUsed } = layer
  const input = normed(residual, await weights.vector(layer.feedForwardNorm))
  yield { tensor: gate, values: input }
  yield { tensor: up, values: input }
  const gates = await weights.rowSquares(gate, input)
  const hidden = await weights.rowSquares(up, input)
  for (let i = 0; i < hidden.length; i++) hidden[i] = (hidden[i] ?? 0) * meanSquareOfSilu(gates[i] ?? 0)
  yield { tensor: down, values: hidden }
  const output = await weights.rowSquares(down, hidden)
  const width = residual.length
  for (let expert = 0; expert < experts; expert++) {
    add(residual, output.subarray(expert * width, (expert + 1) * width), 1 / (experts * expertsUsed))
  }
}

/** What a norm makes of the residual stream. */
function normed(residual: Float64Array, gains: Float32Array): Float64Array {
  const mean = residual.reduce((sum, value) => sum + value, 0) / residual.length
  return residual.map((value, j) => (value / mean) * (gains[j] ?? 0) ** 2)
}

async function addBias(to: Float64Array, bias: TensorInfo | undefined, weights: Weights): Promise<void> {
  if (!bias) return
  const values = await weights.vector(bias)
  for (let i = 0; i < to.length; i++) to[i] = (to[i] ?? 0) + (values[i] ?? 0) ** 2
}

function add(to: Float64Array, what: Float64Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i] = (to[i] ?? 0) + factor * (what[i] ?? 0)
}

/** Sums that arrive row by row, for whoever reads the weights. */
export class RowSquares {
  readonly sums: Float64Array
  readonly #columns: Float64Array
  readonly #width: number
  readonly #matrixElements: number

  constructor(tensor: TensorInfo, columns: Float64Array) {
    this.#width = columnsOf(tensor)
    this.#columns = columns
    this.#matrixElements = columns.length === this.#width ? Infinity : this.#width * rowsOf(tensor)
    this.sums = new Float64Array(matricesOf(tensor) * rowsOf(tensor))
  }

  /**
   * Adds the tensor's numbers from element `first` on, in any order of the calls.
   * @param count of `values` that count
   */
  add(first: number, values: Float32Array, count: number): void {
    const width = this.#width
    for (let i = 0; i < count;) {
      const element = first + i
      const row = Math.floor(element / width)
      const column = element - row * width
      const end = Math.min(count, i + width - column)
      const columns = this.#columns
      let place = column + (this.#matrixElements === Infinity ? 0 : Math.floor(element / this.#matrixElements) * width)
      let sum = 0
      for (; i < end; i++, place++) {
        const value = values[i] as number
        sum += value * value * (columns[place] as number)
      }
      this.sums[row] = (this.sums[row] ?? 0) + sum
    }
  }
}

/** The same of columns. */
export class ColumnSquares {
  readonly #sums: Float64Array
  readonly #rows: number

  constructor(tensor: TensorInfo) {
    this.#sums = new Float64Array(columnsOf(tensor))
    this.#rows = matricesOf(tensor) * rowsOf(tensor)
  }

  add(first: number, values: Float32Array, count: number): void {
    const sums = this.#sums
    const width = sums.length
    let column = first % width
    for (let i = 0; i < count; i++) {
      const value = values[i] as number
      sums[column] = (sums[column] as number) + value * value
      if (++column === width) column = 0
    }
  }

  means(): Float64Array {
    return this.#sums.map((sum) => sum / this.#rows)
  }
}
