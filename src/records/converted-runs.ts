/** From records of a source tensor to the runs of the tensors that are made of it, converted and in their order. */
import type { BlockOrder, Piece, TargetTensor } from '../convert/tensor-plan.js'
import { AprError } from '../model/errors.js'
import type { TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import { convertFloats, firstNotFinite, FLOAT_BYTES, type PlainFloat } from '../quant/narrow.js'
import type { BadValue } from '../quant/run.js'

/** A run of a target tensor. */
export interface ConvertedRun {
  readonly tensor: TensorInfo
  /** Bytes from the target's start. */
  readonly offset: number
  /** The source's own memory where `isView`, else one of its own. */
  readonly data: Uint8Array
  readonly isView: boolean
}

interface PlacedPiece {
  readonly target: TargetTensor
  readonly piece: Piece
}

/** Elements that wait for the rest of their block. */
interface WaitingBlock {
  readonly bytes: Uint8Array
  received: number
}

/** The tensors of one stream that are being converted. */
export class ConvertedRuns {
  readonly #bySource = new Map<string, PlacedPiece[]>()
  readonly #waiting = new Map<string, WaitingBlock>()

  constructor(targets: readonly TargetTensor[]) {
    for (const target of targets) {
      for (const piece of target.pieces) {
        const pieces = this.#bySource.get(piece.source)
        if (pieces) pieces.push({ target, piece })
        else this.#bySource.set(piece.source, [{ target, piece }])
      }
    }
  }

  /** Whether something is made of a tensor. */
  has(source: string): boolean {
    return this.#bySource.has(source)
  }

  /**
   * The runs that a record becomes: none where all of it waits.
   * @param data the record's bytes
   * @throws AprError `APR_BAD_RECORD` for a cut inside an element, `APR_BAD_VALUE` for values that are not finite, or too
   *   large for the new dtype
   */
  of(record: TensorRecord, data: Uint8Array): ConvertedRun[] {
    const dtype = record.dtype as PlainFloat
    const bytes = FLOAT_BYTES[dtype]
    if (record.offset % bytes !== 0 || data.length % bytes !== 0) {
      const what = `expected a record of whole elements of ${bytes} bytes, found one from byte ${record.offset} to byte ${record.offset + data.length}`
      throw new AprError('APR_BAD_RECORD', what, { tensor: record.name })
    }
    const first = record.offset / bytes
    const bad = firstNotFinite(dtype, data)
    if (bad) throw badValue(record, first, bad, 'finite numbers')
    const end = first + data.length / bytes
    const runs: ConvertedRun[] = []
    for (const placed of this.#bySource.get(record.name) ?? []) {
      const { target, piece } = placed
      if (target.tensor.size === 0) {
        if (piece === target.pieces[0]) runs.push({ tensor: target.tensor, offset: 0, data, isView: true })
        continue
      }
      const from = Math.max(first, piece.from)
      const to = Math.min(end, piece.from + piece.elements)
      if (from >= to) continue
      const part = view(data, (from - first) * bytes, (to - first) * bytes)
      if (piece.order) runs.push(...this.#reordered(record, placed, piece.order, from, part))
      else runs.push(convertRun(record, placed, from, part, true))
    }
    return runs
  }

  /** @throws AprError `APR_BAD_RECORD` where a tensor ended inside a block */
  checkComplete(): void {
    for (const key of this.#waiting.keys()) {
      const what = 'expected all rows of a head, found the end of the stream'
      throw new AprError('APR_BAD_RECORD', what, { tensor: key.slice(0, key.lastIndexOf(' ')) })
    }
  }

  #reordered(
    record: TensorRecord,
    placed: PlacedPiece,
    order: BlockOrder,
    from: number,
    part: Uint8Array,
  ): ConvertedRun[] {
    const { piece } = placed
    const bytes = FLOAT_BYTES[record.dtype as PlainFloat]
    const blockBytes = order.rows * order.cols * bytes
    const runs: ConvertedRun[] = []
    const start = (from - piece.from) * bytes
    for (let at = 0; at < part.length;) {
      const index = Math.floor((start + at) / blockBytes)
      const inBlock = start + at - index * blockBytes
      const length = Math.min(part.length - at, blockBytes - inBlock)
      const found = part.subarray(at, at + length)
      const block = length === blockBytes ? found : this.#gather(record.name, piece, index, blockBytes, inBlock, found)
      at += length
      if (!block) continue
      const first = piece.from + (index * blockBytes) / bytes
      runs.push(convertRun(record, placed, first, reorder(block, order, bytes), false))
    }
    return runs
  }

  /** The whole block, when its last part has come. */
  #gather(
    name: string,
    piece: Piece,
    index: number,
    size: number,
    offset: number,
    part: Uint8Array,
  ): Uint8Array | undefined {
    const key = `${name} ${piece.to}:${index}`
    let block = this.#waiting.get(key)
    if (!block) {
      block = { bytes: new Uint8Array(size), received: 0 }
      this.#waiting.set(key, block)
    }
    block.bytes.set(part, offset)
    block.received += part.length
    if (block.received < size) return undefined
    this.#waiting.delete(key)
    return block.bytes
  }
}

/** @param from first element in the source */
function convertRun(
  record: TensorRecord,
  { target: { tensor }, piece }: PlacedPiece,
  from: number,
  data: Uint8Array,
  isView: boolean,
): ConvertedRun {
  const source = record.dtype as PlainFloat
  const target = tensor.dtype as PlainFloat
  const offset = (piece.to + from - piece.from) * FLOAT_BYTES[target]
  if (source === target && piece.add === undefined) return { tensor, offset, data, isView }
  const converted = new Uint8Array((data.length / FLOAT_BYTES[source]) * FLOAT_BYTES[target])
  const bad = convertFloats(source, target, data, converted, piece.add)
  if (bad) throw badValue(record, from, bad, `numbers that ${target} can hold`)
  return { tensor, offset, data: converted, isView: false }
}

function badValue({ name }: TensorRecord, first: number, { element, value }: BadValue, expected: string): AprError {
  const place = { tensor: name, element: first + element, value }
  return new AprError('APR_BAD_VALUE', `expected ${expected}, found ${value}`, place)
}

function view(data: Uint8Array, start: number, end: number): Uint8Array {
  return start === 0 && end === data.length ? data : data.subarray(start, end)
}

/** A block with its rows, or its elements, in the target's order. */
function reorder(block: Uint8Array, { kind, rows, cols }: BlockOrder, bytes: number): Uint8Array {
  const result = new Uint8Array(block.length)
  const rowBytes = cols * bytes
  if (kind === 'rope') {
    for (let row = 0; row < rows; row++) {
      const from = (row % 2) * (rows / 2) + (row >> 1)
      result.set(block.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes)
    }
    return result
  }
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const from = row * rowBytes + col * bytes
      const to = (col * rows + row) * bytes
      for (let byte = 0; byte < bytes; byte++) result[to + byte] = block[from + byte] ?? 0
    }
  }
  return result
}
