/** Reads the blocks that hold some elements of a tensor, wherever they stand. */
import type { OpenedModel, PlacedTensor } from '../../formats/format.js'
import { DTYPES } from '../../model/dtypes.js'
import { aprQ8Scale } from '../../quant/decode.js'
import { paddedColumns, type Slice } from '../../quality/pairs.js'
import type { BufferPool } from '../../records/buffers.js'

export class RangeReader {
  readonly #opened: OpenedModel
  readonly #pool: BufferPool
  readonly #placed: ReadonlyMap<string, PlacedTensor>
  /** Scales of APR_Q8 tensors, which stand before their values. */
  readonly #scales = new Map<string, Promise<number>>()

  constructor(opened: OpenedModel, pool: BufferPool) {
    this.#opened = opened
    this.#pool = pool
    this.#placed = new Map(opened.tensors.map((placed) => [placed.tensor.name, placed]))
  }

  /** Blocks from the one that holds the first element to the one that holds the last. */
  async read(name: string, first: number, elements: number): Promise<Slice> {
    const placed = this.#placed.get(name)
    const source = placed && this.#opened.sources[placed.file]
    if (!placed || !source) throw new Error(`the model has no tensor ${name}`)
    const { tensor, position } = placed
    const { dtype } = tensor
    const { blockBytes, headBytes } = DTYPES[dtype]
    const columns = paddedColumns(tensor)
    const firstBlock = blockOf(first, columns, dtype)
    const end = elements === 0 ? firstBlock : blockOf(first + elements - 1, columns, dtype) + 1
    const data = this.#pool.take((end - firstBlock) * blockBytes)
    await source.read(data, position + headBytes + firstBlock * blockBytes)
    const scale = headBytes > 0 ? await this.#scale(placed) : undefined
    return { dtype, data, firstBlock, paddedColumns: columns, scale }
  }

  async #scale(placed: PlacedTensor): Promise<number> {
    const { name, dtype } = placed.tensor
    const known = this.#scales.get(name)
    if (known) return await known
    const head = new Uint8Array(DTYPES[dtype].headBytes)
    const read = Promise.resolve(this.#opened.sources[placed.file]?.read(head, placed.position))
    const scale = read.then(() => aprQ8Scale(head))
    this.#scales.set(name, scale)
    return await scale
  }
}

/** The block that holds an element. */
function blockOf(element: number, columns: number | undefined, dtype: PlacedTensor['tensor']['dtype']): number {
  const { blockElements } = DTYPES[dtype]
  if (columns === undefined) return Math.floor(element / blockElements)
  const row = Math.floor(element / columns)
  return row * Math.ceil(columns / blockElements) + Math.floor((element - row * columns) / blockElements)
}
