/**
 * From records to the runs of elements that a kernel takes. A run starts and ends where a block of the result does, or
 * where a row does; records need not: what a record has behind its last block waits for the next record of its tensor.
 */
import { DTYPES, SUPER_BLOCK_ELEMENTS, type DType } from '../model/dtypes.js'
import { AprError } from '../model/errors.js'
import { blockElement, elementCount, type TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import { aprQ8Scale } from '../quant/decode.js'
import { blocksBefore, isBlockDType, type Run } from '../quant/runs/run.js'

/**
 * Bytes that a run may become. Rows much narrower than a super-block become many times larger, and a record of them is
 * cut into several runs.
 */
const MAX_RESULT_BYTES = 4 * 1024 * 1024

/** What the tensors become, and how they are cut. */
export interface CutTarget {
  readonly dtype: DType
  /** Whether importance counts: it has a row of numbers for every row of the tensor, whatever its rank. */
  readonly isWeighted?: boolean
}

/** How a tensor is cut into runs. */
interface Cut {
  /** Elements of a row. */
  readonly row: number
  /** Elements after which a run may end, counted from a row's start. */
  readonly unit: number
  /** Of the result. */
  readonly blockElements: number
  readonly blockBytes: number
}

/** A run of a record, and where it and its result stand. */
export interface RecordRun {
  readonly run: Run
  /** Index of the run's first element inside its tensor, and of its first block. */
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
  /** By tensor, what waits for more: fewer elements than a block has, or a row. */
  readonly #rests = new Map<string, Elements>()

  /**
   * The runs that become `to`. Their data are views of `data`, or of a copy where a rest stood before it.
   * @param data the record's bytes
   * @throws AprError `APR_BAD_RECORD` for a record that starts or ends inside a block of its dtype, or that leaves a gap
   *   inside a block
   */
  of(record: TensorRecord, data: Uint8Array, to: CutTarget): RecordRun[] {
    const scale = this.#scale(record, data)
    return isBlockDType(to.dtype)
      ? this.#toQuantize(record, data, cutOf(record, to), scale)
      : toConvert(record, data, to.dtype, scale)
  }

  /** @throws AprError `APR_BAD_RECORD` where a tensor ended inside a super-block */
  checkComplete(): void {
    for (const [tensor, { end }] of this.#rests) {
      const what = `expected more of the tensor behind its element ${end}, found the end of the stream`
      throw new AprError('APR_BAD_RECORD', what, { tensor })
    }
  }

  #toQuantize(record: TensorRecord, data: Uint8Array, cut: Cut, scale: number | undefined): RecordRun[] {
    const { name } = record
    const found = elementsOf(record, data)
    const before = this.#rests.size === 0 ? undefined : this.#rests.get(name)
    // The rest's own start is no boundary where blocks of the dtype are larger than one element.
    const start = unitStart(before?.end ?? found.first, cut)
    if (before ? before.end !== found.first : start !== found.first) throw badRecord(record)
    const elements = before ? join(before, found) : found
    const end = unitStart(found.end, cut)
    if (end < found.end) this.#rests.set(name, restOf(record, elements, end))
    else if (before) this.#rests.delete(name)
    // A loop, and nothing made that is not needed: models can have tens of thousands of small tensors.
    const runs: RecordRun[] = []
    if (elementCount(record.shape) === 0) runs.push(runOf(record.dtype, elements, start, end, cut, scale))
    for (let from = start; from < end;) {
      const to = Math.min(end, partEnd(from, cut))
      runs.push(runOf(record.dtype, elements, from, to, cut, scale))
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
function toConvert(record: TensorRecord, data: Uint8Array, to: DType, scale: number | undefined): RecordRun[] {
  const elements = elementsOf(record, data)
  const { first, end } = elements
  const cut = plainCut(end, to)
  const step = MAX_RESULT_BYTES / cut.blockBytes
  const runs: RecordRun[] = []
  for (let start = first; start < end || runs.length === 0; start += step) {
    runs.push(runOf(record.dtype, elements, start, Math.min(end, start + step), cut, scale))
  }
  return runs
}

/** Rows do not matter where the result has no blocks. */
function plainCut(end: number, dtype: DType): Cut {
  return { row: Math.max(1, end), unit: 1, blockElements: 1, blockBytes: DTYPES[dtype].blockBytes }
}

function cutOf(tensor: TensorInfo, { dtype, isWeighted = false }: CutTarget): Cut {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const row = isWeighted ? Math.max(1, tensor.shape.at(-1) ?? 1) : rowElements(tensor)
  // With importance blocks of 32 need the whole row before the first of them.
  const unit = isWeighted && blockElements < SUPER_BLOCK_ELEMENTS ? row : blockElements
  return { row, unit, blockElements, blockBytes }
}

/** Some of a tensor's bytes: of the first, and behind the last. */
interface Bytes {
  readonly name: string
  readonly start: number
  readonly end: number
}

/** Some of a tensor's elements: of the first, and behind the last. */
export interface ElementRange {
  readonly first: number
  readonly end: number
}

/** The bytes of `from` that these bytes of what it becomes are made of, from a block's start on. */
export function sourceRanges(from: TensorInfo, to: CutTarget, { name, start, end }: Bytes): Bytes[] {
  if (to.dtype === from.dtype) return [{ name, start, end }]
  const { headBytes } = DTYPES[from.dtype]
  const bytes = { name, ...elementBytes(from, sourceElements(from, to, start, end)) }
  return headBytes > 0 && start < end ? [{ name, start: 0, end: headBytes }, bytes] : [bytes]
}

/** The elements of `from` that bytes of what it becomes are made of: those of whole blocks, or rows where it takes these. */
export function sourceElements(from: TensorInfo, to: CutTarget, start: number, end: number): ElementRange {
  const total = elementCount(from.shape)
  const { row, unit } = isBlockDType(to.dtype) ? cutOf(from, to) : { row: 1, unit: 1 }
  const unitBytes = DTYPES[to.dtype].blockBytes
  // The elements up to a byte of the result.
  const elementAt = (units: number): number => Math.min(total, blockElement(to.dtype, from.shape, units))
  const wholeRows = unit === row && row > 1
  const startElement = elementAt(Math.floor(start / unitBytes))
  const endElement = elementAt(Math.ceil(end / unitBytes))
  return {
    first: wholeRows ? Math.floor(startElement / row) * row : startElement,
    end: wholeRows ? Math.min(total, Math.ceil(endElement / row) * row) : endElement,
  }
}

/** The bytes of the blocks that hold these elements, without the tensor's head. */
export function elementBytes(
  { dtype, size }: TensorInfo,
  { first, end }: ElementRange,
): { start: number; end: number } {
  const { blockElements, blockBytes, headBytes } = DTYPES[dtype]
  const start = headBytes + Math.floor(first / blockElements) * blockBytes
  return { start, end: Math.min(size, headBytes + Math.ceil(end / blockElements) * blockBytes) }
}

/** How far a run may go that is to be made of so many elements at the most: at least a unit, and whole rows where one fits. */
export function unitsEnd(from: TensorInfo, to: CutTarget, first: number, maxElements: number): number {
  if (!isBlockDType(to.dtype)) return first + Math.max(1, maxElements)
  const { row, unit } = cutOf(from, to)
  const inRow = first % row
  const rows = Math.floor(maxElements / row) * row
  if (inRow === 0 && rows > 0) return first + rows
  return first + Math.min(row - inRow, Math.max(unit, Math.floor(maxElements / unit) * unit))
}

/** Bytes of the result that the elements before this one become, which is a unit's first. */
export function resultOffset(from: TensorInfo, to: CutTarget, element: number): number {
  const { blockElements, blockBytes } = DTYPES[to.dtype]
  if (!isBlockDType(to.dtype)) return element * blockBytes
  return blocksBefore(element, cutOf(from, to).row, blockElements) * blockBytes
}

/**
 * The runs that become `to` of elements that start and end as `sourceElements` says.
 * @param data the bytes of their blocks, as `elementBytes` says
 * @param scale of an APR_Q8 tensor
 */
export function runsOf(
  from: TensorInfo,
  { first, end }: ElementRange,
  data: Uint8Array,
  to: CutTarget,
  scale: number | undefined,
): RecordRun[] {
  const { blockElements } = DTYPES[from.dtype]
  const elements = { first: first - (first % blockElements), end, data }
  const cut = isBlockDType(to.dtype) ? cutOf(from, to) : plainCut(end, to.dtype)
  const runs: RecordRun[] = []
  for (let start = first; start < end;) {
    const next = Math.min(end, partEnd(start, cut))
    runs.push(runOf(from.dtype, elements, start, next, cut, scale))
    start = next
  }
  return runs
}

function runOf(
  dtype: DType,
  elements: Elements,
  start: number,
  end: number,
  { row, blockElements: size, blockBytes: bytes }: Cut,
  scale: number | undefined,
): RecordRun {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const blockStart = Math.floor((start - elements.first) / blockElements)
  const blockEnd = Math.ceil((end - elements.first) / blockElements)
  const data = part(elements.data, blockStart * blockBytes, blockEnd * blockBytes)
  const inBlock = start - elements.first - blockStart * blockElements
  const run = { dtype, data, start: inBlock, elements: end - start, rowElements: row, inRow: start % row }
  const firstBlock = blocksBefore(start, row, size)
  return { run: scale === undefined ? run : { ...run, scale }, first: start, firstBlock, offset: firstBlock * bytes }
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

/** The last place up to `element` where a run may start: a row's start, or whole units behind it. */
function unitStart(element: number, { row, unit }: Cut): number {
  return element - ((element % row) % unit)
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
function partEnd(start: number, { row, unit, blockElements, blockBytes }: Cut): number {
  const inRow = start % row
  const maxBlocks = Math.floor(MAX_RESULT_BYTES / blockBytes)
  const rows = Math.floor(maxBlocks / blocksBefore(row, row, blockElements)) * row
  if (inRow === 0 && rows > 0) return start + rows
  return start + Math.min(row - inRow, unit === row ? row : maxBlocks * blockElements)
}
