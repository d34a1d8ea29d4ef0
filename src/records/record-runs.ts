/**
 * From records to the runs of elements that a kernel takes. A run starts and ends where a super-block does; records need
 * not: what a record has behind its last super-block waits for the next record of its tensor.
 */
import { DTYPES, SUPER_BLOCK_ELEMENTS, type DType } from '../model/dtypes.js'
import { AprError } from '../model/errors.js'
import { blockElement, elementCount, type TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import { Q4K_BLOCK_BYTES } from '../quant/blocks/q4k.js'
import { aprQ8Scale } from '../quant/decode.js'
import { blocksBefore, isFloat, type Run } from '../quant/run.js'

/**
 * Bytes that a run may become. Rows much narrower than a super-block become many times larger, and a record of them is
 * cut into several runs.
 */
const MAX_RESULT_BYTES = 4 * 1024 * 1024
const MAX_BLOCKS = Math.floor(MAX_RESULT_BYTES / Q4K_BLOCK_BYTES)
const F32_BYTES = 4

/** A run of a record, and where it and its result stand. */
export interface RecordRun {
  readonly run: Run
  /** Index of the run's first element inside its tensor, and of its first super-block. */
  readonly first: number
  readonly firstBlock: number
  /** Bytes from the tensor's start at which the result stands. */
  readonly offset: number
}

/** Elements of a tensor, as bytes of its dtype. */
interface Elements {
  /** Index of the first element that `data` holds, and of the one behind the last. */
  readonly first: number
  readonly end: number
  /** Whole blocks of the dtype. */
  readonly data: Uint8Array
}

/** The tensors of one stream that are being converted. */
export class RecordRuns {
  /** Scales of the APR_Q8 tensors that are under way: only a tensor's first record holds its scale. */
  readonly #scales = new Map<string, number>()
  /** By tensor, what waits for more: fewer than 256 elements. */
  readonly #rests = new Map<string, Elements>()

  /**
   * The runs that become `to`. Their data are views of `data`, or of a copy where a rest stood before it.
   * @param data the record's bytes
   * @throws AprError `APR_BAD_RECORD` for a record that starts or ends inside a block of its dtype, or that leaves a gap
   *   inside a super-block
   */
  of(record: TensorRecord, data: Uint8Array, to: TensorInfo): RecordRun[] {
    const scale = this.#scale(record, data)
    return to.dtype === 'Q4_K' ? this.#toQuantize(record, data, scale) : toWiden(record, data, scale)
  }

  /** @throws AprError `APR_BAD_RECORD` where a tensor ended inside a super-block */
  checkComplete(): void {
    for (const [tensor, { end }] of this.#rests) {
      const what = `expected more of the tensor behind its element ${end}, found the end of the stream`
      throw new AprError('APR_BAD_RECORD', what, { tensor })
    }
  }

  #toQuantize(record: TensorRecord, data: Uint8Array, scale: number | undefined): RecordRun[] {
    const { name } = record
    const row = rowElements(record)
    const found = elementsOf(record, data)
    const before = this.#rests.size === 0 ? undefined : this.#rests.get(name)
    // The rest's own start is no boundary where blocks of the dtype are larger than one element.
    const start = superBlockStart(before?.end ?? found.first, row)
    if (before ? before.end !== found.first : start !== found.first) throw badRecord(record)
    const elements = before ? join(before, found) : found
    const end = superBlockStart(found.end, row)
    if (end < found.end) this.#rests.set(name, restOf(record, elements, end))
    else if (before) this.#rests.delete(name)
    // A loop, and nothing made that is not needed: models can have tens of thousands of small tensors.
    const runs: RecordRun[] = []
    if (elementCount(record.shape) === 0) runs.push(runOf(record.dtype, elements, start, end, row, 0, scale))
    for (let from = start; from < end;) {
      const to = Math.min(end, partEnd(from, row))
      const offset = blocksBefore(from, row) * Q4K_BLOCK_BYTES
      runs.push(runOf(record.dtype, elements, from, to, row, offset, scale))
      from = to
    }
    return runs
  }

  #scale({ name, dtype, offset }: TensorRecord, data: Uint8Array): number | undefined {
    if (dtype !== 'APR_Q8') return undefined
    if (offset === 0 && data.length >= DTYPES.APR_Q8.headBytes) this.#scales.set(name, aprQ8Scale(data))
    const scale = this.#scales.get(name)
    if (scale !== undefined) return scale
    const what = `expected the tensor's bytes from 0 on, found those from ${offset} on`
    throw new AprError('APR_BAD_RECORD', what, { tensor: name })
  }
}

/** Rows do not matter here: elements stay where they are. */
function toWiden(record: TensorRecord, data: Uint8Array, scale: number | undefined): RecordRun[] {
  const elements = elementsOf(record, data)
  const { first, end } = elements
  const step = MAX_RESULT_BYTES / F32_BYTES
  const runs: RecordRun[] = []
  for (let start = first; start < end || runs.length === 0; start += step) {
    const to = Math.min(end, start + step)
    runs.push(runOf(record.dtype, elements, start, to, Math.max(1, end), start * F32_BYTES, scale))
  }
  return runs
}

/** Some of a tensor's bytes: of the first, and behind the last. */
interface Bytes {
  readonly name: string
  readonly start: number
  readonly end: number
}

/** The bytes of `from` that these bytes of `to` are made of, from a super-block's start on. */
export function sourceRanges(from: TensorInfo, to: TensorInfo, { name, start, end }: Bytes): Bytes[] {
  if (to.dtype === from.dtype) return [{ name, start, end }]
  const { blockElements, blockBytes, headBytes } = DTYPES[from.dtype]
  const total = elementCount(from.shape)
  const isQuantized = to.dtype === 'Q4_K'
  // The elements up to a byte of the result: super-blocks as in `blockElement`, or numbers of four bytes.
  const elementAt = (units: number): number => Math.min(total, isQuantized ? blockElement(from.shape, units) : units)
  const unitBytes = isQuantized ? Q4K_BLOCK_BYTES : F32_BYTES
  const first = Math.floor(elementAt(Math.floor(start / unitBytes)) / blockElements)
  const last = Math.ceil(elementAt(Math.ceil(end / unitBytes)) / blockElements)
  const bytes = { name, start: headBytes + first * blockBytes, end: Math.min(from.size, headBytes + last * blockBytes) }
  return headBytes > 0 && start < end ? [{ name, start: 0, end: headBytes }, bytes] : [bytes]
}

/** @param offset of the result inside its tensor, in bytes */
function runOf(
  dtype: DType,
  elements: Elements,
  start: number,
  end: number,
  row: number,
  offset: number,
  scale: number | undefined,
): RecordRun {
  if (!isFloat(dtype)) throw new Error(`${dtype} cannot be read as numbers`)
  const { blockElements, blockBytes } = DTYPES[dtype]
  const blockStart = Math.floor((start - elements.first) / blockElements)
  const blockEnd = Math.ceil((end - elements.first) / blockElements)
  const data = part(elements.data, blockStart * blockBytes, blockEnd * blockBytes)
  const inBlock = start - elements.first - blockStart * blockElements
  const run = { dtype, data, start: inBlock, elements: end - start, rowElements: row, inRow: start % row }
  return {
    run: scale === undefined ? run : { ...run, scale },
    first: start,
    firstBlock: blocksBefore(start, row),
    offset,
  }
}

/** A view of a part; the same view where that is all. */
function part(data: Uint8Array, start: number, end: number): Uint8Array {
  return start === 0 && end >= data.length ? data : data.subarray(start, end)
}

/** @throws AprError `APR_BAD_RECORD` where the record starts or ends inside a block of its dtype, or outside its tensor */
function elementsOf(record: TensorRecord, data: Uint8Array): Elements {
  const { size, offset } = record
  const { headBytes } = DTYPES[record.dtype]
  const end = offset + data.length
  const first = elementsBefore(record, offset)
  const last = elementsBefore(record, end)
  const isInHead = (offset > 0 && offset < headBytes) || (end < headBytes && end < size)
  if (end > size || isInHead || !Number.isInteger(first) || !Number.isInteger(last)) throw badRecord(record)
  return { first, end: last, data: offset === 0 ? part(data, headBytes, data.length) : data }
}

/** Elements whose bytes are all among the first ones of a tensor: no whole number inside a block. */
function elementsBefore({ dtype, shape, size }: TensorInfo, bytes: number): number {
  const { blockElements, blockBytes, headBytes } = DTYPES[dtype]
  if (bytes === size) return elementCount(shape)
  return ((Math.max(bytes, headBytes) - headBytes) / blockBytes) * blockElements
}

function badRecord({ name, dtype, shape, offset, data, size }: TensorRecord): AprError {
  const end = data.length > 0 ? offset + data.length : size
  const what = `expected a record that starts where the tensor's last one ended, or at a super-block (a row's start, or a multiple of 256 elements in it), and ends where a block of its dtype does, found one from byte ${offset} to byte ${end} of ${dtype} [${shape.join(', ')}]`
  return new AprError('APR_BAD_RECORD', what, { tensor: name })
}

/** After how many elements a tensor starts a new row: the columns of a matrix, or all its elements. */
function rowElements({ shape }: TensorInfo): number {
  return Math.max(1, shape.length === 2 ? (shape[1] ?? 1) : elementCount(shape))
}

/** The last place up to `element` where a super-block may start: a row's start, or a multiple of 256 elements in it. */
function superBlockStart(element: number, row: number): number {
  return element - ((element % row) % SUPER_BLOCK_ELEMENTS)
}

/** What came before, and what comes next, in a memory of their own. */
function join(before: Elements, next: Elements): Elements {
  const data = new Uint8Array(before.data.length + next.data.length)
  data.set(before.data)
  data.set(next.data, before.data.length)
  return { first: before.first, end: next.end, data }
}

/** A copy of the blocks that hold the elements from `start` on. */
function restOf({ dtype }: TensorInfo, elements: Elements, start: number): Elements {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const block = Math.floor((start - elements.first) / blockElements)
  const data = elements.data.slice(block * blockBytes)
  return { first: elements.first + block * blockElements, end: elements.end, data }
}

/** Where a part that starts here ends at the latest: whole rows where one fits into the largest result, else in its row. */
function partEnd(start: number, row: number): number {
  const inRow = start % row
  const rows = Math.floor(MAX_BLOCKS / blocksBefore(row, row)) * row
  return start + (inRow === 0 && rows > 0 ? rows : Math.min(row - inRow, MAX_BLOCKS * SUPER_BLOCK_ELEMENTS))
}
