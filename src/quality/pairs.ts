/** The same elements of two tensors, as bytes of their dtypes: what is compared at once, here or in another thread. */
import { DTYPES, type DType } from '../model/dtypes.js'
import { elementCount, tensorBytes, type TensorInfo } from '../model/tensor.js'
import { decodeElements } from '../quant/decode.js'
import type { RunImportance, Witness } from '../quant/runs/run.js'
import type { Meter } from './meter.js'
import type { Rows, Tally } from './tally.js'

/** Consecutive blocks of a tensor. */
export interface Slice {
  readonly dtype: DType
  readonly data: Uint8Array
  /** Index of the first in the tensor. */
  readonly firstBlock: number
  /** Where each row starts a new block and is padded to whole ones: elements of a row. */
  readonly paddedColumns?: number | undefined
  /** The scale of an APR_Q8 tensor. */
  readonly scale?: number | undefined
}

export interface Pairs {
  /** Of the first element, counted from the tensor's. */
  readonly first: number
  readonly elements: number
  readonly rows: Rows
  readonly a: Slice
  readonly b: Slice
  readonly importance?: RunImportance | undefined
}

export function tallyPairs(meter: Meter, { first, elements, rows, a, b, importance }: Pairs): Tally {
  const { kernel } = meter
  const { blockElements } = DTYPES[b.dtype]
  meter.begin({ first, rows, blockElements, isWeighted: importance !== undefined })
  for (let done = 0; done < elements;) {
    const count = Math.min(kernel.a.length, elements - done)
    fill(meter, a, 'a', first + done, count)
    fill(meter, b, 'b', first + done, count)
    if (importance) weigh(kernel.importance, importance, rows, first, done, count)
    meter.take(count)
    done += count
  }
  return meter.end()
}

/** Has a meter see what becomes blocks of `dtype`. */
export function meterWitness(meter: Meter, dtype: DType, place: Pick<Pairs, 'first' | 'rows' | 'importance'>): Witness {
  const { kernel } = meter
  const { first, rows, importance } = place
  let seen = 0
  meter.begin({ first, rows, blockElements: DTYPES[dtype].blockElements, isWeighted: importance !== undefined })
  return {
    see(values, blocks, position, count) {
      const slice = { dtype, data: blocks, firstBlock: 0 }
      for (let done = 0; done < count;) {
        const part = Math.min(kernel.a.length, count - done)
        const start = position + done
        kernel.a.set(values.subarray(start, start + part))
        fill(meter, slice, 'b', start, part)
        if (importance) weigh(kernel.importance, importance, rows, first, seen, part)
        meter.take(part)
        done += part
        seen += part
      }
    },
  }
}

/** After how many elements a tensor's rows are padded; undefined where its blocks run through. */
export function paddedColumns({ dtype, shape, size }: TensorInfo): number | undefined {
  const { blockElements, padsRows } = DTYPES[dtype]
  const [, columns] = shape
  if (!padsRows || shape.length !== 2 || columns === undefined || columns % blockElements === 0) return undefined
  // A matrix may also be cut flat, which takes fewer bytes.
  return size === tensorBytes(dtype, shape) && size !== tensorBytes(dtype, [elementCount(shape)]) ? columns : undefined
}

/** Puts values of a slice into the meter's kernel, from its start on. */
function fill({ kernel }: Meter, slice: Slice, into: 'a' | 'b', first: number, count: number): void {
  const { dtype, data, firstBlock, paddedColumns: columns, scale } = slice
  const { blockElements, blockBytes } = DTYPES[dtype]
  for (let done = 0; done < count;) {
    const element = first + done
    const inRow = columns === undefined ? 0 : element % columns
    const size = columns === undefined ? count : Math.min(columns - inRow, count - done)
    const before =
      columns === undefined ? element : Math.floor(element / columns) * padded(columns, blockElements) + inRow
    const from = before - firstBlock * blockElements
    // What can be decoded in WebAssembly: whole blocks.
    const whole = from % blockElements === 0 ? size - (size % blockElements) : 0
    const start = (from / blockElements) * blockBytes
    const bytes = data.subarray(start, start + (whole / blockElements) * blockBytes)
    const isDone = whole > 0 && kernel.decode(dtype, bytes, whole, into, done)
    const rest = isDone ? whole : 0
    if (rest < size) {
      decodeElements({ dtype, data, first: from + rest, count: size - rest, scale }, kernel[into], done + rest)
    }
    done += size
  }
}

function padded(columns: number, blockElements: number): number {
  return Math.ceil(columns / blockElements) * blockElements
}

/** Puts what each pair counts into `target`. */
function weigh(
  target: Float32Array,
  { values, matrixElements, inMatrix }: RunImportance,
  { columns }: Rows,
  first: number,
  done: number,
  count: number,
): void {
  for (let i = 0; i < count;) {
    const inRow = (first + done + i) % columns
    const size = Math.min(columns - inRow, count - i)
    const start = Math.floor((inMatrix + done + i) / matrixElements) * columns + inRow
    target.set(values.subarray(start, start + size), i)
    i += size
  }
}
