/** Cuts a tensor into the pieces that become its records. */
import { DTYPES, SUPER_BLOCK_ELEMENTS } from '../model/dtypes.js'
import { tensorBytes, type TensorInfo } from '../model/tensor.js'

export interface Piece {
  /** Bytes from the tensor's start. */
  readonly offset: number
  /** Bytes. */
  readonly size: number
}

/**
 * Pieces of at most `recordBytes`: whole rows where a row fits, else multiples of 256 elements inside a row, and never
 * less than that. A tensor without bytes is one piece without bytes.
 */
export function* cutTensor(tensor: TensorInfo, recordBytes: number): Generator<Piece> {
  const { size } = tensor
  const { headBytes } = DTYPES[tensor.dtype]
  if (size <= recordBytes || size === headBytes) {
    yield { offset: 0, size }
    return
  }
  const { rowBytes, unitBytes } = grain(tensor)
  const budget = recordBytes - headBytes
  // Whole rows, or parts of one row.
  const isWhole = rowBytes <= budget || unitBytes >= rowBytes
  const spanBytes = isWhole ? size - headBytes : rowBytes
  const grainBytes = isWhole ? rowBytes : unitBytes
  const step = Math.max(1, Math.floor(budget / grainBytes)) * grainBytes
  for (let span = headBytes; span < size; span += spanBytes) {
    for (let inSpan = 0; inSpan < spanBytes; inSpan += step) {
      const first = span === headBytes && inSpan === 0
      const length = Math.min(step, spanBytes - inSpan)
      yield first ? { offset: 0, size: length + headBytes } : { offset: span + inSpan, size: length }
    }
  }
}

/** Bytes of a row, and of the least part of one: 256 elements. What has no rows of whole blocks is cut as one row. */
function grain({ dtype, shape, size }: TensorInfo): { rowBytes: number; unitBytes: number } {
  const { blockElements, blockBytes, headBytes, padsRows } = DTYPES[dtype]
  const unitBytes = (SUPER_BLOCK_ELEMENTS / blockElements) * blockBytes
  const cols = shape.length === 2 ? (shape[1] ?? 0) : 0
  // A K-quant's matrix is cut flat in older files.
  const hasRows = cols > 0 && (padsRows ? size === tensorBytes(dtype, shape) : cols % blockElements === 0)
  return { rowBytes: hasRows ? tensorBytes(dtype, [1, cols]) - headBytes : size - headBytes, unitBytes }
}
