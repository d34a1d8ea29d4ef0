/**
 * A run: consecutive elements of one tensor, as bytes of its dtype. Here runs become Q4_K or F32, whatever the source
 * dtype, in a constant amount of memory.
 */
import { DTYPES, SUPER_BLOCK_ELEMENTS, type DType } from '../model/dtypes.js'
import { Q4K_BLOCK_BYTES } from './blocks/q4k.js'
import { decodeElements } from './decode.js'
import type { Fit, Kernel } from './kernel.js'

/** Dtypes whose tensors can be quantized or widened: floats, and the quants that aprender can do nothing else with. */
export type FloatDType = 'F32' | 'F16' | 'BF16' | 'F64' | 'APR_Q8' | 'APR_Q4'

export interface Run {
  readonly dtype: FloatDType
  /** Whole blocks of the dtype, without its head. */
  readonly data: Uint8Array
  /** The run's first element, counted from the start of `data`. Default 0. */
  readonly start?: number
  readonly elements: number
  /** After how many elements a new row starts, and with it a super-block; of what has no rows all its elements. */
  readonly rowElements: number
  /** Where in its row the run starts: a multiple of 256. Default 0. */
  readonly inRow?: number
  /** The scale of an APR_Q8 tensor. */
  readonly scale?: number
}

/** The first value of a run that cannot be converted. */
export interface BadValue {
  /** Index inside the run, in elements. */
  readonly element: number
  readonly value: number
}

/** Whether tensors of this dtype can be quantized or widened. */
export function isFloat(dtype: DType): dtype is FloatDType {
  return DTYPES[dtype].kind === 'float' || dtype === 'APR_Q8' || dtype === 'APR_Q4'
}

/** Super-blocks that a run becomes. */
export function runBlocks({ elements, rowElements, inRow = 0 }: Omit<Run, 'dtype' | 'data'>): number {
  return elements === 0 ? 0 : blocksBefore(inRow + elements, rowElements) - inRow / SUPER_BLOCK_ELEMENTS
}

/** Super-blocks that hold the first `elements` elements of a tensor whose rows have `rowElements` each. */
export function blocksBefore(elements: number, rowElements: number): number {
  if (elements === 0) return 0
  const rows = Math.floor(elements / rowElements)
  return (
    rows * Math.ceil(rowElements / SUPER_BLOCK_ELEMENTS) +
    Math.ceil((elements - rows * rowElements) / SUPER_BLOCK_ELEMENTS)
  )
}

/**
 * Whether a run's super-blocks can be written to the front of its own memory: whatever was written is then behind what
 * was read. A row must not become larger, and nothing may stand before the run's first element.
 */
export function fitsInPlace({ dtype, data, start = 0, elements, rowElements, inRow = 0 }: Run): boolean {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const rowFits = blocksBefore(rowElements, rowElements) * Q4K_BLOCK_BYTES <= (rowElements / blockElements) * blockBytes
  const hasOneRow = inRow + elements <= rowElements
  return (
    start === 0 &&
    (rowFits || hasOneRow) &&
    runBlocks({ elements, rowElements, inRow }) * Q4K_BLOCK_BYTES <= data.length
  )
}

/**
 * Quantizes a run to Q4_K, every row padded with zeros to a whole super-block.
 * @param target takes `runBlocks(run) * 144` bytes; may be the front of the run's own memory where that `fitsInPlace`
 * @returns the first value that is not finite; undefined when all are, and `target` is filled
 */
export function quantizeRun(run: Run, fit: Fit, kernel: Kernel, target: Uint8Array): BadValue | undefined {
  const { elements, rowElements, inRow = 0 } = run
  // Rows of whole super-blocks are as good as no rows.
  const isContiguous = rowElements % SUPER_BLOCK_ELEMENTS === 0
  const maxBlocks = kernel.input.length / SUPER_BLOCK_ELEMENTS
  let element = 0
  let written = 0
  while (element < elements) {
    // Fill the kernel's input: whole super-blocks, from as many rows as fit.
    const first = element
    let blocks = 0
    while (element < elements && blocks < maxBlocks) {
      const restOfRow = isContiguous ? elements : rowElements - ((inRow + element) % rowElements)
      const count = Math.min(restOfRow, elements - element, (maxBlocks - blocks) * SUPER_BLOCK_ELEMENTS)
      const start = blocks * SUPER_BLOCK_ELEMENTS
      widenRun(run, element, count, kernel, start)
      element += count
      blocks += Math.ceil(count / SUPER_BLOCK_ELEMENTS)
      kernel.input.fill(0, start + count, blocks * SUPER_BLOCK_ELEMENTS)
    }
    if (!kernel.fit({ dtype: 'Q4_K', fit }, blocks)) return firstNonFinite(run, first, kernel)
    const bytes = blocks * Q4K_BLOCK_BYTES
    target.set(kernel.output.subarray(0, bytes), written)
    written += bytes
  }
  return undefined
}

/**
 * Widens (or, from F64, rounds) a run to F32. Values that are not finite stay what they are.
 * @param target takes `4 * elements` bytes
 * @returns the first value of an F64 run that is finite and too large for F32; undefined when there is none
 */
export function runToF32(run: Run, kernel: Kernel, target: Uint8Array): BadValue | undefined {
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
function firstNonFinite(run: Run, from: number, kernel: Kernel): BadValue | undefined {
  const chunk = kernel.input.length
  for (let first = from; first < run.elements; first += chunk) {
    const count = Math.min(chunk, run.elements - first)
    widenRun(run, first, count, kernel, 0)
    const index = kernel.input.subarray(0, count).findIndex((value) => !Number.isFinite(value))
    if (index >= 0)
      return { element: first + index, value: sourceValue(run, first + index, kernel.input[index] ?? NaN) }
  }
  return undefined
}

/** A finite F64 may be infinite only as an f32: then the error should show the number that stands in the file. */
function sourceValue({ dtype, data, start = 0 }: Run, element: number, widened: number): number {
  if (dtype !== 'F64') return widened
  return new DataView(data.buffer, data.byteOffset, data.byteLength).getFloat64((start + element) * 8, true)
}
