/** Reads a model's weights tensor by tensor, in whatever order they are wanted, with two reads' memory. */
import type { Piece } from '../../convert/tensor-plan.js'
import type { OpenedModel, PlacedTensor } from '../../formats/format.js'
import { DTYPES } from '../../model/dtypes.js'
import { AprError, checkNotAborted } from '../../model/errors.js'
import { columnsOf, elementCount, type TensorInfo } from '../../model/tensor.js'
import { aprQ8Scale, decodeElements, isDecodable } from '../../quant/decode.js'
import type { Kernel } from '../../quant/kernel.js'
import { createSimdKernel } from '../../quant/simd.js'
import { BufferPool, release } from '../../records/buffers.js'
import { ColumnSquares, RowSquares, type Weights } from '../../recipes/moments/moments.js'

/** Bytes of a read. */
const READ_BYTES = 2 * 1024 * 1024

/** What a tensor of the network is made of. None is a tensor's that is made. */
export type PiecesOf = (tensor: TensorInfo) => readonly Piece[]

/** Takes the numbers of a tensor from element `first` on; they are overwritten when it has returned. */
type Take = (first: number, values: Float32Array, count: number) => void

export interface ReadingOptions {
  readonly signal?: AbortSignal | undefined
  /** Called with each read of a tensor's bytes; `isEnd`: it was the tensor's last one. */
  readonly onRead?: ((tensor: TensorInfo, bytes: number, isEnd: boolean) => void) | undefined
}

export class ModelWeights implements Weights {
  readonly #opened: OpenedModel
  readonly #piecesOf: PiecesOf
  readonly #options: ReadingOptions
  readonly #placed: ReadonlyMap<string, PlacedTensor>
  readonly #kernel: Kernel = createSimdKernel()
  readonly #pool = new BufferPool(2 * READ_BYTES)

  constructor(opened: OpenedModel, piecesOf: PiecesOf, options: ReadingOptions = {}) {
    this.#opened = opened
    this.#piecesOf = piecesOf
    this.#options = options
    this.#placed = new Map(opened.tensors.map((placed) => [placed.tensor.name, placed]))
  }

  async vector(tensor: TensorInfo): Promise<Float32Array> {
    const values = new Float32Array(elementCount(tensor.shape))
    await this.#read(tensor, (first, part, count) => values.set(part.subarray(0, count), first))
    checkFinite(values, tensor)
    return values
  }

  async columnSquares(tensor: TensorInfo): Promise<Float64Array> {
    const squares = new ColumnSquares(tensor)
    await this.#read(tensor, (first, values, count) => squares.add(first, values, count))
    return checkFinite(squares.means(), tensor)
  }

  async rowSquares(tensor: TensorInfo, columns: Float64Array): Promise<Float64Array> {
    const squares = new RowSquares(tensor, columns)
    await this.#read(tensor, (first, values, count) => squares.add(first, values, count))
    return checkFinite(squares.sums, tensor)
  }

  async #read(tensor: TensorInfo, take: Take): Promise<void> {
    const pieces = this.#piecesOf(tensor)
    for (const [i, piece] of pieces.entries()) {
      const isLast = i === pieces.length - 1
      if (piece.order !== undefined) throw notInRows(piece.source)
      await this.#readPiece(piece, take, (bytes, isEnd) => this.#options.onRead?.(tensor, bytes, isLast && isEnd))
    }
  }

  /**
   * Some rows of a tensor's matrices. Those of a head may come in another order than they have in GGUF.
   * @param first and `count`: rows, all matrices counted through
   */
  async rows(tensor: TensorInfo, first: number, count: number): Promise<Float32Array> {
    const width = columnsOf(tensor)
    const values = new Float32Array(count * width)
    const [start, end] = [first * width, (first + count) * width]
    for (const { source, from, elements, to, order } of this.#piecesOf(tensor)) {
      const [low, high] = [Math.max(start, to), Math.min(end, to + elements)]
      if (low >= high) continue
      if (order?.kind === 'transpose') throw notInRows(source)
      const part = { source, from: from + low - to, elements: high - low, to: low }
      await this.#readPiece(
        part,
        (at, found, size) => values.set(found.subarray(0, size), at - start),
        () => undefined,
      )
    }
    return values
  }

  /** The next read is under way while the numbers of one are taken. */
  async #readPiece(
    { source: name, from, elements, to }: Piece,
    take: Take,
    onRead: (bytes: number, isEnd: boolean) => void,
  ): Promise<void> {
    const placed = this.#placed.get(name)
    const source = placed && this.#opened.sources[placed.file]
    if (!placed || !source) throw new Error(`the model has no tensor ${name}`)
    const { tensor, position } = placed
    const { blockElements, blockBytes, headBytes, padsRows } = DTYPES[tensor.dtype]
    const isCut = padsRows && (tensor.shape.at(-1) ?? 0) % blockElements !== 0
    if (isCut || !isDecodable(tensor.dtype)) throw notInRows(name)
    const head = new Uint8Array(headBytes)
    if (headBytes > 0) await source.read(head, position)
    const scale = headBytes > 0 ? aprQ8Scale(head) : undefined
    const end = from + elements
    const step = Math.floor(READ_BYTES / blockBytes) * blockElements
    const read = async (first: number): Promise<{ first: number; data: Uint8Array } | undefined> => {
      if (first >= end) return undefined
      const start = Math.floor(first / blockElements)
      const blocks = Math.ceil(Math.min(end, first + step) / blockElements) - start
      const data = this.#pool.take(blocks * blockBytes)
      await source.read(data, position + headBytes + start * blockBytes)
      return { first, data }
    }
    const { signal } = this.#options
    let next = read(from)
    for (;;) {
      const found = await next
      if (!found) return
      checkNotAborted(signal)
      const { first, data } = found
      const behind = Math.min(end, first + step)
      next = read(behind)
      // Its failure is told when its turn comes.
      next.catch(() => undefined)
      this.#decode(tensor, scale, data, first, behind, (at, values, count) => take(to + at - from, values, count))
      onRead(data.length, behind === end)
      release(data)
    }
  }

  #decode(
    { dtype }: TensorInfo,
    scale: number | undefined,
    data: Uint8Array,
    start: number,
    end: number,
    take: Take,
  ): void {
    const { input } = this.#kernel
    const { blockElements, blockBytes } = DTYPES[dtype]
    for (let first = start; first < end; first += input.length) {
      const count = Math.min(input.length, end - first)
      const inData = first - Math.floor(start / blockElements) * blockElements
      if (dtype === 'F16' || dtype === 'BF16') {
        this.#kernel.widen(dtype, data.subarray(inData * blockBytes, (inData + count) * blockBytes), 0, count)
      } else decodeElements({ dtype, data, first: inData, count, scale }, input, 0)
      take(first, input, count)
    }
  }
}

function notInRows(tensor: string): AprError {
  return new AprError('APR_UNSUPPORTED', 'expected numbers that stand row by row, found others', { tensor })
}

/** @throws AprError `APR_BAD_VALUE` where a weight was NaN or infinite, or its square became so */
function checkFinite<T extends Float32Array | Float64Array>(values: T, { name }: TensorInfo): T {
  const index = values.findIndex((value) => !Number.isFinite(value))
  if (index < 0) return values
  const what = `expected finite weights, found some that make ${values[index] ?? NaN} in row or column ${index}`
  throw new AprError('APR_BAD_VALUE', what, { tensor: name })
}
