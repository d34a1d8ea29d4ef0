/**
 * A run: consecutive elements of one tensor, as bytes of its dtype. Here runs become blocks or numbers of another dtype,
 * whatever the source's is, in a constant amount of memory.
 */
import { DTYPES, type DType } from '../../model/dtypes.js'
import { BLOCK_DTYPES, type BlockDType } from '../block.js'
import { decodeElements } from '../decode.js'
import { faintBlocks } from './scales.js'
import type { Fit, Kernel, WeightDType } from '../kernel.js'

/** Whether blocks of this dtype can be made. */
export function isBlockDType(dtype: DType): dtype is BlockDType {
  return (BLOCK_DTYPES as readonly DType[]).includes(dtype)
}

/** What a run becomes. */
export interface Target {
  readonly dtype: BlockDType | WeightDType
  /** How blocks are fitted. */
  readonly fit: Fit
  /** Whether NaN and infinity pass to F32 as they are: in a tensor that is kept, and only widened. */
  readonly isLenient?: boolean
}

export interface Run {
  readonly dtype: DType
  /** Whole blocks of the dtype, without its head. */
  readonly data: Uint8Array
  /** The run's first element, counted from the start of `data`. Default 0. */
  readonly start?: number
  readonly elements: number
  /** After how many elements a new row starts, and with it a block; of what has no rows all its elements. */
  readonly rowElements: number
  /** Where in its row the run starts: at a block. Default 0. */
  readonly inRow?: number
  /** The scale of an APR_Q8 tensor. */
  readonly scale?: number
  readonly importance?: RunImportance
}

/** What errors count: a row of numbers for all rows of a matrix. A tensor of experts has as many matrices. */
export interface RunImportance {
  /** The rows of the run's matrices, one after the other, from that of its first element on. */
  readonly values: Float32Array
  /** Elements of a matrix, and of the first one that stand before the run. */
  readonly matrixElements: number
  readonly inMatrix: number
}

/** The first value of a run that cannot be converted. */
export interface BadValue {
  /** Index inside the run, in elements. */
  readonly element: number
  readonly value: number
}

/** Blocks whose values were lost, or most of their bits: they are not zero, and too small for what the dtype can scale. */
export interface LostBlocks {
  readonly blocks: number
  /** The greatest magnitude among them. */
  readonly greatest: number
}

/** Is shown what values have become. */
export interface Witness {
  /** The next `count` elements of a run: as numbers and as blocks. In both they start at element `position`. */
  see(values: Float32Array, blocks: Uint8Array, position: number, count: number): void
}

const NOTHING_LOST: LostBlocks = { blocks: 0, greatest: 0 }

/** Of all that was lost here and there. */
export function sumLost(a: LostBlocks = NOTHING_LOST, b: LostBlocks = NOTHING_LOST): LostBlocks {
  return { blocks: a.blocks + b.blocks, greatest: Math.max(a.greatest, b.greatest) }
}

/** Blocks of `dtype` that a run becomes. */
export function runBlocks(
  { elements, rowElements, inRow = 0 }: Omit<Run, 'dtype' | 'data'>,
  dtype: BlockDType,
): number {
  const { blockElements } = DTYPES[dtype]
  return elements === 0 ? 0 : blocksBefore(inRow + elements, rowElements, blockElements) - inRow / blockElements
}

/** Blocks of `blockElements` that hold the first `elements` elements of a tensor whose rows have `rowElements` each. */
export function blocksBefore(elements: number, rowElements: number, blockElements: number): number {
  if (elements === 0) return 0
  const rows = Math.floor(elements / rowElements)
  return rows * Math.ceil(rowElements / blockElements) + Math.ceil((elements - rows * rowElements) / blockElements)
}

/**
 * Whether a run's blocks can be written to the front of its own memory: whatever was written is then behind what was
 * read. A row must not become larger, and nothing may stand before the run's first element.
 */
export function fitsInPlace(run: Run, to: BlockDType): boolean {
  const { dtype, data, start = 0, elements, rowElements, inRow = 0 } = run
  const { blockElements, blockBytes } = DTYPES[dtype]
  const { blockBytes: bytes, blockElements: size } = DTYPES[to]
  const rowFits = blocksBefore(rowElements, rowElements, size) * bytes <= (rowElements / blockElements) * blockBytes
  const hasOneRow = inRow + elements <= rowElements
  return start === 0 && (rowFits || hasOneRow) && runBlocks(run, to) * bytes <= data.length
}

/**
 * Quantizes a run to blocks, every row padded with zeros to a whole block.
 * @param target takes `runBlocks(run)` blocks; may be the front of the run's own memory where that `fitsInPlace`
 * @param witness sees every value and what has become of it
 * @returns the first value that is not finite; when all are, `target` is filled, and what was lost is told
 */
export function quantizeRun(
  run: Run,
  to: Target,
  kernel: Kernel,
  target: Uint8Array,
  witness?: Witness,
): { readonly bad: BadValue } | { readonly lost: LostBlocks } {
  const dtype = to.dtype as BlockDType
  const { blockElements, blockBytes } = DTYPES[dtype]
  const { elements, rowElements, inRow = 0, importance } = run
  const meanSquares = importance && blockElements < 256 ? rowMeanSquares(run, kernel) : undefined
  const fitting = { dtype, fit: to.fit, isWeighted: importance !== undefined }
  // Rows of whole blocks are as good as no rows, where no row is as another.
  const isContiguous = rowElements % blockElements === 0 && !importance
  const maxBlocks = kernel.input.length / blockElements
  let lost = NOTHING_LOST
  let element = 0
  let written = 0
  while (element < elements) {
    // Fill the kernel's input: whole blocks, from as many rows as fit.
    const first = element
    const parts: { position: number; count: number }[] = []
    let blocks = 0
    while (element < elements && blocks < maxBlocks) {
      const restOfRow = isContiguous ? elements : rowElements - ((inRow + element) % rowElements)
      const count = Math.min(restOfRow, elements - element, (maxBlocks - blocks) * blockElements)
      const start = blocks * blockElements
      widenRun(run, element, count, kernel, start)
      if (importance) weigh(run, importance, element, count, kernel, start)
      const end = blocks + Math.ceil(count / blockElements)
      if (meanSquares) {
        kernel.rowMeanSquares.fill(meanSquares[Math.floor((inRow + element) / rowElements)] ?? 0, blocks, end)
      }
      if (witness) parts.push({ position: start, count })
      element += count
      blocks = end
      kernel.input.fill(0, start + count, blocks * blockElements)
    }
    if (!kernel.fit(fitting, blocks)) return { bad: firstNonFinite(run, first, kernel) }
    const bytes = kernel.output.subarray(0, blocks * blockBytes)
    lost = faintBlocks(dtype, bytes, kernel.input, lost, to.fit)
    for (const { position, count } of parts) witness?.see(kernel.input, bytes, position, count)
    target.set(bytes, written)
    written += bytes.length
  }
  return { lost }
}

/** Puts the importance of `count` elements from `first` on, which stand in one row, at `position` of the kernel's. */
function weigh(
  run: Run,
  importance: RunImportance,
  first: number,
  count: number,
  kernel: Kernel,
  position: number,
): void {
  const { rowElements, inRow = 0 } = run
  const { values, matrixElements, inMatrix } = importance
  const matrix = Math.floor((inMatrix + first) / matrixElements)
  const start = matrix * rowElements + ((inRow + first) % rowElements)
  kernel.importance.set(values.subarray(start, start + count), position)
}

/** `sum(x * x) / n` of every row of a run of whole rows, one running sum in f32. */
function rowMeanSquares(run: Run, kernel: Kernel): Float32Array {
  const { fround } = Math
  const { elements, rowElements } = run
  const means = new Float32Array(elements / rowElements)
  const { input } = kernel
  let sum = 0
  for (let first = 0; first < elements;) {
    const inRow = first % rowElements
    const count = Math.min(rowElements - inRow, input.length)
    widenRun(run, first, count, kernel, 0)
    for (let i = 0; i < count; i++) {
      const x = input[i] ?? 0
      sum = fround(sum + fround(x * x))
    }
    first += count
    if (first % rowElements > 0) continue
    means[first / rowElements - 1] = fround(sum / rowElements)
    sum = 0
  }
  return means
}

/**
 * Widens or rounds a run to numbers of another dtype.
 * @param target takes them
 * @returns the first value that cannot be one: NaN, infinite or too large; undefined when there is none
 */
export function convertRun(run: Run, to: Target, kernel: Kernel, target: Uint8Array): BadValue | undefined {
  if (to.isLenient) return runToF32(run, kernel, target)
  const dtype = to.dtype as WeightDType
  const { blockBytes } = DTYPES[dtype]
  for (let element = 0; element < run.elements; element += kernel.input.length) {
    const count = Math.min(run.elements - element, kernel.input.length)
    widenRun(run, element, count, kernel, 0)
    const bad = kernel.narrow(dtype, count, target.subarray(element * blockBytes, (element + count) * blockBytes))
    if (bad >= 0) {
      return { element: element + bad, value: sourceValue(run, element + bad, kernel.input[bad] ?? NaN) }
    }
  }
  return undefined
}

/**
 * Widens (or, from F64, rounds) a run to F32. Values that are not finite stay what they are.
 * @param target takes `4 * elements` bytes
 * @returns the first value of an F64 run that is finite and too large for F32; undefined when there is none
 */
function runToF32(run: Run, kernel: Kernel, target: Uint8Array): BadValue | undefined {
  const inputBytes = new Uint8Array(kernel.input.buffer, kernel.input.byteOffset, kernel.input.byteLength)
  for (let element = 0; element < run.elements; element += kernel.input.length) {
    const count = Math.min(run.elements - element, kernel.input.length)
    widenRun(run, element, count, kernel, 0)
    const overflow =
      run.dtype === 'F64' ? kernel.input.subarray(0, count).findIndex((value) => !Number.isFinite(value)) : -1
    if (overflow >= 0) {
      const value = sourceValue(run, element + overflow, NaN)
      if (Number.isFinite(value)) return { element: element + overflow, value }
    }
    target.set(inputBytes.subarray(0, count * 4), element * 4)
  }
  return undefined
}

/** Puts `count` elements of the run, from `first` on, into the kernel's input as f32, from element `position` on. */
function widenRun(run: Run, first: number, count: number, kernel: Kernel, position: number): void {
  const { dtype, data, start = 0, scale } = run
  const { input } = kernel
  const from = start + first
  if (dtype === 'F32') {
    new Uint8Array(input.buffer, input.byteOffset + position * 4, count * 4).set(
      data.subarray(from * 4, (from + count) * 4),
    )
  } else if (dtype === 'F16' || dtype === 'BF16') {
    kernel.widen(dtype, data.subarray(from * 2, (from + count) * 2), position, count)
  } else {
    decodeElements({ dtype, data, first: from, count, scale }, input, position)
  }
}

/** Finds what `fit` refused. Runs once, before the job fails, so it may be slow. */
function firstNonFinite(run: Run, from: number, kernel: Kernel): BadValue {
  const chunk = kernel.input.length
  for (let first = from; first < run.elements; first += chunk) {
    const count = Math.min(chunk, run.elements - first)
    widenRun(run, first, count, kernel, 0)
    const index = kernel.input.subarray(0, count).findIndex((value) => !Number.isFinite(value))
    if (index >= 0)
      return { element: first + index, value: sourceValue(run, first + index, kernel.input[index] ?? NaN) }
  }
  throw new Error('every value is finite')
}

/** A finite F64 may be infinite only as an f32: then the error should show the number that stands in the file. */
function sourceValue({ dtype, data, start = 0 }: Run, element: number, widened: number): number {
  if (dtype !== 'F64') return widened
  return new DataView(data.buffer, data.byteOffset, data.byteLength).getFloat64((start + element) * 8, true)
}
