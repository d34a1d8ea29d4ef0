/**
 * A run: consecutive elements of one tensor, as bytes of its dtype. Here runs become Q4_K or F32, whatever the source
 * dtype, in a constant amount of memory.
 */
import {
  APR_Q4_BLOCK_BYTES,
  APR_Q4_BLOCK_ELEMENTS,
  SUPER_BLOCK_ELEMENTS,
  elementBytes,
  type DType,
} from '../model/tensor.js'
import { f16ToF32 } from './float.js'
import type { Fit, Kernel } from './kernel.js'
import { Q4K_BLOCK_BYTES } from './q4k-block.js'

/** Dtypes whose values can be read as numbers here, and so be quantized or widened. */
export type FloatDType = 'F32' | 'F16' | 'BF16' | 'F64' | 'APR_Q8' | 'APR_Q4'

export interface Run {
  readonly dtype: FloatDType
  /** Whole elements of the dtype; of APR_Q8 only the int8 values, of APR_Q4 whole blocks. */
  readonly data: Uint8Array
  /** How many elements `data` holds. */
  readonly elements: number
  /** After how many elements a new super-block starts: the columns of a matrix, or all elements of a flat run. */
  readonly rowElements: number
  /** The scale of an APR_Q8 tensor. */
  readonly scale?: number
}

/** The first value of a run that cannot be converted. */
export interface BadValue {
  /** Index inside the run, in elements. */
  readonly element: number
  readonly value: number
}

/** Whether values of this dtype can be read as numbers here. */
export function isFloat(dtype: DType): dtype is FloatDType {
  return ['F32', 'F16', 'BF16', 'F64', 'APR_Q8', 'APR_Q4'].includes(dtype)
}

/** Super-blocks that a run becomes. */
export function runBlocks({ elements, rowElements }: Pick<Run, 'elements' | 'rowElements'>): number {
  return elements === 0 ? 0 : (elements / rowElements) * Math.ceil(rowElements / SUPER_BLOCK_ELEMENTS)
}

/**
 * Quantizes a run to Q4_K, every row padded with zeros to a whole super-block.
 * @param target takes `runBlocks(run) * 144` bytes; may be the front of the run's own memory where these are no more
 *   than its own bytes, row for row
 * @returns the first value that is not finite; undefined when all are, and `target` is filled
 */
export function quantizeRun(run: Run, fit: Fit, kernel: Kernel, target: Uint8Array): BadValue | undefined {
  const isContiguous = run.rowElements % SUPER_BLOCK_ELEMENTS === 0
  const rowElements = isContiguous ? run.elements : run.rowElements
  let element = 0
  let written = 0
  while (element < run.elements) {
    // Fill the kernel's input: whole super-blocks, from as many rows as fit.
    const first = element
    let blocks = 0
    while (element < run.elements && blocks < kernel.maxBlocks) {
      const restOfRow = rowElements - (element % rowElements)
      const count = Math.min(restOfRow, (kernel.maxBlocks - blocks) * SUPER_BLOCK_ELEMENTS)
      const start = blocks * SUPER_BLOCK_ELEMENTS
      widenRun(run, element, count, kernel, start)
      element += count
      blocks += Math.ceil(count / SUPER_BLOCK_ELEMENTS)
      kernel.input.fill(0, start + count, blocks * SUPER_BLOCK_ELEMENTS)
    }
    if (!kernel.fit(fit, blocks)) return firstNonFinite(run, first, kernel)
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

/** Puts `count` elements of the run, from `first` on, into the kernel's input as f32, starting at element `start`. */
function widenRun(run: Run, first: number, count: number, kernel: Kernel, start: number): void {
  const { dtype, data } = run
  const { input } = kernel
  const size = elementBytes(dtype)
  const bytes = size === undefined ? data : data.subarray(first * size, (first + count) * size)
  switch (dtype) {
    case 'F32':
      new Uint8Array(input.buffer, input.byteOffset + start * 4, count * 4).set(bytes)
      break
    case 'F16':
    case 'BF16':
      kernel.widen(dtype, bytes, start, count)
      break
    case 'F64': {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      for (let i = 0; i < count; i++) input[start + i] = view.getFloat64(i * 8, true)
      break
    }
    case 'APR_Q8': {
      const scale = run.scale ?? 0
      for (let i = 0; i < count; i++) input[start + i] = (((data[first + i] ?? 0) << 24) >> 24) * scale
      break
    }
    case 'APR_Q4':
      for (let i = 0; i < count; i++) input[start + i] = aprQ4Value(data, first + i)
      break
  }
}

/** `(nibble - 8) * scale`; a block is an f16 scale and 16 bytes, the low nibble first. */
function aprQ4Value(data: Uint8Array, element: number): number {
  const block = Math.floor(element / APR_Q4_BLOCK_ELEMENTS) * APR_Q4_BLOCK_BYTES
  const inBlock = element % APR_Q4_BLOCK_ELEMENTS
  const scale = f16ToF32((data[block] ?? 0) | ((data[block + 1] ?? 0) << 8))
  const nibble = ((data[block + 2 + (inBlock >> 1)] ?? 0) >> ((inBlock & 1) * 4)) & 15
  return (nibble - 8) * scale
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
function sourceValue({ dtype, data }: Run, element: number, widened: number): number {
  if (dtype !== 'F64') return widened
  return new DataView(data.buffer, data.byteOffset, data.byteLength).getFloat64(element * 8, true)
}

/** The scale that an APR_Q8 tensor starts with. */
export function aprQ8Scale(data: Uint8Array): number {
  return new DataView(data.buffer, data.byteOffset, data.byteLength).getFloat32(0, true)
}
