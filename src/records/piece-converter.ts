/**
 * From records of source tensors to those of the tensors that are made of them: each run of elements goes to its place,
 * in the dtype and the order that is wanted there. Nothing is kept but the start of a block that is not whole yet.
 */
import type { Piece } from '../convert/tensor-plan.js'
import { AprError } from '../model/errors.js'
import type { TensorRecord } from '../model/record.js'
import type { TensorInfo } from '../model/tensor.js'
import { DTYPES } from '../model/dtypes.js'
import type { BadValue } from '../quant/runs/run.js'
import { WEIGHT_BYTES, type Kernel, type WeightDType } from '../quant/kernel.js'
import { checkWeights, convertWeights, keepsBytes, type WeightConversion } from '../quant/runs/weights.js'
import { orderBlocks } from './block-order.js'
import { BufferPool, lend, release, takeOver } from './buffers.js'

/** A piece, and the tensor that it is a part of. */
export interface PlacedPiece {
  readonly piece: Piece
  readonly target: TensorInfo
}

/** Bytes of a converted tensor. */
export interface ConvertedRun {
  readonly target: TensorInfo
  /** Bytes from its start. */
  readonly offset: number
  readonly data: Uint8Array
}

/** Elements of a source tensor, as bytes of its dtype. */
interface Run {
  readonly first: number
  readonly end: number
  readonly data: Uint8Array
}

/** A piece, and the dtypes on its way. */
interface Way extends PlacedPiece {
  readonly source: TensorInfo
  readonly conversion: WeightConversion
}

/** A block of which the first elements have come. */
interface Block {
  readonly tensor: string
  /** Index in the source of its first element, and of the next that comes. */
  readonly first: number
  next: number
  readonly data: Uint8Array
}

/** Results up to this size have memory of their own size. */
const SMALL_BYTES = 16 * 1024
/** Bytes that are kept for later use at the most. */
const POOL_BYTES = 16 * 1024 * 1024

export class PieceConverter {
  readonly #kernel: Kernel
  readonly #pool = new BufferPool(POOL_BYTES)
  readonly #blocks = new Map<Piece, Block>()

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /**
   * What the pieces make of a record, whose memory is taken over.
   * @param pieces those of the record's tensor
   * @throws AprError `APR_BAD_VALUE` for a number that is NaN or infinite, or becomes so; `APR_BAD_RECORD` for a record that
   *   starts or ends inside an element or outside its tensor, or that does not go on where a block's last one ended
   */
  convert(record: TensorRecord, pieces: readonly PlacedPiece[]): ConvertedRun[] {
    const { first, end } = elementsOf(record)
    const ways: Way[] = []
    for (const { piece, target } of pieces) {
      if (end <= piece.from || first >= piece.from + piece.elements) continue
      const conversion = { from: weights(record), to: weights(target), add: piece.add }
      ways.push({ piece, target, source: record, conversion })
    }
    const [way] = ways
    if (way && ways.length === 1 && passes(way, first, end)) {
      this.#check({ first, end, data: record.data }, way)
      return [{ target: way.target, offset: offsetOf(first, way), data: record.data }]
    }
    const data = takeOver(record)
    const runs: ConvertedRun[] = []
    for (const each of ways) {
      const { from, elements, order } = each.piece
      const run = part({ first, end, data }, Math.max(first, from), Math.min(end, from + elements), each)
      if (order) this.#convertBlocks(run, each, order.rows * order.cols, runs)
      else runs.push(this.#convertRun(run, each))
    }
    release(data)
    return runs
  }

  /** @throws AprError `APR_BAD_RECORD` where a tensor ended inside a block */
  checkComplete(): void {
    for (const { tensor, next } of this.#blocks.values()) {
      const what = `expected more of the tensor behind its element ${next}, found the end of the stream`
      throw new AprError('APR_BAD_RECORD', what, { tensor })
    }
  }

  /** Whole blocks as they stand in the record; of the others the parts are put together. */
  #convertBlocks(run: Run, way: Way, blockElements: number, runs: ConvertedRun[]): void {
    const { piece, source, conversion } = way
    for (let { first } = run; first < run.end;) {
      const inBlock = (first - piece.from) % blockElements
      const whole = inBlock === 0 ? Math.floor((run.end - first) / blockElements) * blockElements : 0
      const begun = this.#blocks.get(piece)
      if ((begun?.next ?? first - inBlock) !== first) throw badRecord(source, first)
      if (whole > 0) {
        runs.push(this.#convertRun(part(run, first, first + whole, way), way))
        first += whole
        continue
      }
      const bytes = WEIGHT_BYTES[conversion.from]
      const block = begun ?? { tensor: source.name, first, next: first, data: new Uint8Array(blockElements * bytes) }
      const end = Math.min(run.end, block.first + blockElements)
      block.data.set(part(run, first, end, way).data, (first - block.first) * bytes)
      block.next = end
      first = end
      if (end < block.first + blockElements) {
        this.#blocks.set(piece, block)
      } else {
        this.#blocks.delete(piece)
        runs.push(this.#convertRun({ first: block.first, end, data: block.data }, way))
      }
    }
  }

  /** @param run of whole blocks where the piece has an order */
  #convertRun(run: Run, way: Way): ConvertedRun {
    const { piece, target, conversion } = way
    const bytes = WEIGHT_BYTES[conversion.to]
    const data = this.#take((run.end - run.first) * bytes)
    let converted = run.data
    if (keepsBytes(conversion)) {
      this.#check(run, way)
    } else {
      converted = piece.order ? this.#take(data.length) : data
      const bad = convertWeights(conversion, this.#kernel, run.data, converted)
      if (bad) throw badValue(bad, run, way)
    }
    if (piece.order) orderBlocks(piece.order, converted, bytes, data)
    else if (converted !== data) data.set(converted)
    if (converted !== data && converted !== run.data) release(converted)
    return { target, offset: offsetOf(run.first, way), data }
  }

  #check(run: Run, way: Way): void {
    const bad = checkWeights(way.conversion.from, this.#kernel, run.data)
    if (bad) throw badValue(bad, run, way)
  }

  #take(size: number): Uint8Array {
    return size <= SMALL_BYTES ? lend(new Uint8Array(size)) : this.#pool.take(size)
  }
}

/** Whether elements stand in the target as they stand in the source. */
function passes({ piece, conversion }: Way, first: number, end: number): boolean {
  return !piece.order && keepsBytes(conversion) && piece.from <= first && end <= piece.from + piece.elements
}

/** @param first element in the source */
function offsetOf(first: number, { piece, conversion }: Way): number {
  return (piece.to + first - piece.from) * WEIGHT_BYTES[conversion.to]
}

/** A view of some elements of a run. */
function part(run: Run, first: number, end: number, { conversion }: Way): Run {
  const bytes = WEIGHT_BYTES[conversion.from]
  return { first, end, data: run.data.subarray((first - run.first) * bytes, (end - run.first) * bytes) }
}

function weights({ name, dtype }: TensorInfo): WeightDType {
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') return dtype
  throw new AprError('APR_UNSUPPORTED', `expected F32, F16 or BF16, found ${dtype}`, { tensor: name })
}

function elementsOf(record: TensorRecord): { first: number; end: number } {
  const bytes = DTYPES[record.dtype].blockBytes
  const { name, dtype, offset, data, size } = record
  const first = offset / bytes
  const end = first + data.length / bytes
  if (first >= 0 && Number.isInteger(first) && Number.isInteger(end) && offset + data.length <= size)
    return { first, end }
  const what = `expected a record of whole elements of ${dtype}, among ${size} bytes, found one from byte ${offset} to byte ${offset + data.length}`
  throw new AprError('APR_BAD_RECORD', what, { tensor: name })
}

function badRecord({ name }: TensorInfo, element: number): AprError {
  const what = `expected a record that starts where the tensor's last one ended, or where rows of a head start, found one from element ${element} on`
  return new AprError('APR_BAD_RECORD', what, { tensor: name })
}

function badValue({ element, value }: BadValue, run: Run, { source, conversion }: Way): AprError {
  const place = { tensor: source.name, element: run.first + element, value }
  const expected = Number.isFinite(value)
    ? `numbers that ${conversion.to} can hold, found ${value}; another outtype holds it`
    : `finite numbers, found ${value}`
  return new AprError('APR_BAD_VALUE', `expected ${expected}`, place)
}
