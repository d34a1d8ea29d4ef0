/** Cuts a tensor into the pieces that become its records. */
import {
  APR_Q4_BLOCK_BYTES,
  APR_Q4_BLOCK_ELEMENTS,
  APR_Q8_HEAD_BYTES,
  SUPER_BLOCK_ELEMENTS,
  elementBytes,
  elementCount,
  isKQuant,
  superBlockBytes,
  tensorBytes,
  type TensorInfo,
} from '../model/tensor.js'

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
  const head = tensor.dtype === 'APR_Q8' ? APR_Q8_HEAD_BYTES : 0
  const limit = recordBytes / growth(tensor)
  if (size <= limit || size === head) {
    yield { offset: 0, size }
    return
  }
  const { rowBytes, unitBytes } = grain(tensor)
  const budget = limit - head
  // Whole rows, or parts of one row.
  const isWhole = rowBytes <= budget || unitBytes >= rowBytes
  const spanBytes = isWhole ? size - head : rowBytes
  const grainBytes = isWhole ? rowBytes : unitBytes
  const step = Math.max(1, Math.floor(budget / grainBytes)) * grainBytes
  for (let span = head; span < size; span += spanBytes) {
    for (let inSpan = 0; inSpan < spanBytes; inSpan += step) {
      const first = span === head && inSpan === 0
      const length = Math.min(step, spanBytes - inSpan)
      yield first ? { offset: 0, size: length + head } : { offset: span + inSpan, size: length }
    }
  }
}

/** How many times larger a matrix becomes as Q4_K: rows of few columns are padded to whole super-blocks. */
function growth({ dtype, shape, size }: TensorInfo): number {
  return isKQuant(dtype) || size === 0 ? 1 : Math.max(1, tensorBytes('Q4_K', shape) / size)
}

/** Bytes of a row, and of the least part of a row that starts and ends where a super-block may. */
function grain({ dtype, shape, size }: TensorInfo): { rowBytes: number; unitBytes: number } {
  const cols = shape.length === 2 ? (shape[1] ?? 0) : 0
  if (isKQuant(dtype)) {
    const unitBytes = superBlockBytes(dtype)
    // A matrix cut flat, as older files hold it, has no rows.
    const hasRows = cols > 0 && size === tensorBytes(dtype, shape)
    return { rowBytes: hasRows ? tensorBytes(dtype, [1, cols]) : unitBytes, unitBytes }
  }
  if (dtype === 'APR_Q4') {
    const unitBytes = (SUPER_BLOCK_ELEMENTS / APR_Q4_BLOCK_ELEMENTS) * APR_Q4_BLOCK_BYTES
    if (cols === 0) return { rowBytes: unitBytes, unitBytes }
    // Its blocks run through rows: as many rows as end where a block does are one.
    let rows = 1
    while ((rows * cols) % APR_Q4_BLOCK_ELEMENTS !== 0) rows *= 2
    const rowBytes = ((rows * cols) / APR_Q4_BLOCK_ELEMENTS) * APR_Q4_BLOCK_BYTES
    return { rowBytes, unitBytes: rows === 1 ? unitBytes : rowBytes }
  }
  const bytes = elementBytes(dtype) ?? 1 // APR_Q8: its int8 values
  const unitBytes = SUPER_BLOCK_ELEMENTS * bytes
  return { rowBytes: cols > 0 ? cols * bytes : unitBytes, unitBytes }
}

/** The elements of a piece, and where they go in super-blocks. */
export interface PieceElements {
  /** Index of the first element inside the tensor. */
  readonly first: number
  readonly elements: number
  /** After how many elements a new super-block starts: the columns of a matrix, or all elements. */
  readonly rowElements: number
  /** Super-blocks of the tensor before this piece. */
  readonly firstBlock: number
}

/**
 * Which elements of a tensor a piece holds.
 * @returns undefined when the piece is none that `cutTensor` can make: it starts or ends inside a super-block
 */
export function pieceElements(tensor: TensorInfo, piece: Piece): PieceElements | undefined {
  const { dtype, shape, size } = tensor
  const total = elementCount(shape)
  const cols = shape.length === 2 ? (shape[1] ?? total) : total
  const head = dtype === 'APR_Q8' ? APR_Q8_HEAD_BYTES : 0
  const end = piece.offset + piece.size
  if (end > size || (piece.offset > 0 && piece.offset < head)) return undefined
  if (total === 0) return { first: 0, elements: 0, rowElements: 1, firstBlock: 0 }

  const first = toElements(dtype, Math.max(0, piece.offset - head))
  const elements = (end === size ? total : toElements(dtype, end - head)) - first
  const inRow = first % cols
  const rowBlocks = Math.ceil(cols / SUPER_BLOCK_ELEMENTS)
  const firstBlock = Math.floor(first / cols) * rowBlocks + inRow / SUPER_BLOCK_ELEMENTS
  if (![first, elements, firstBlock].every(Number.isInteger) || elements < 0) return undefined
  // Rows of whole super-blocks are as good as no rows.
  if (cols % SUPER_BLOCK_ELEMENTS === 0 && elements % SUPER_BLOCK_ELEMENTS === 0) {
    return { first, elements, rowElements: elements, firstBlock }
  }
  if (inRow === 0 && elements % cols === 0) return { first, elements, rowElements: cols, firstBlock }
  const endsWell = elements % SUPER_BLOCK_ELEMENTS === 0 || inRow + elements === cols
  return inRow + elements <= cols && endsWell ? { first, elements, rowElements: elements, firstBlock } : undefined
}

function toElements(dtype: TensorInfo['dtype'], bytes: number): number {
  if (dtype === 'APR_Q4') return (bytes / APR_Q4_BLOCK_BYTES) * APR_Q4_BLOCK_ELEMENTS
  return bytes / (elementBytes(dtype) ?? 1)
}
