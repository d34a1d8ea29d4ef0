/** Plans the reads of a file: what is read at once, and which records come out of it. */
import { cutTensor } from '../records/cut-tensor.js'
import type { PlacedTensor } from '../formats/format.js'

/** One contiguous read. */
export interface PlannedRead {
  /** In which of the model's files. */
  readonly file: number
  /** Absolute offset, and bytes. */
  readonly position: number
  readonly size: number
  /** What becomes records; small tensors that stand side by side share a read. */
  readonly pieces: readonly PlannedPiece[]
}

export interface PlannedPiece {
  readonly placed: PlacedTensor
  /** Bytes from the start of the tensor, and of the read. */
  readonly offset: number
  readonly start: number
  /** Bytes of data. */
  readonly size: number
  /** Bytes of padding that the read holds behind it. */
  readonly padding: number
}

/** Pieces up to this size share a read: below it a read costs more than the copy out of a shared one. */
const SMALL_BYTES = 16 * 1024
/** Bytes of a shared read: some hundred small tensors, a few milliseconds of work. */
const SHARED_BYTES = 64 * 1024

/** Reads in the order of the tensors. Each one's padding is read with it. */
export function* planReads(tensors: readonly PlacedTensor[], recordBytes: number): Generator<PlannedRead> {
  let shared: PlannedPiece[] = []
  let file = 0
  let position = 0
  let end = 0
  const flush = (): PlannedRead => {
    const read = { file, position, size: end - position, pieces: shared }
    shared = []
    return read
  }

  for (const placed of tensors) {
    for (const { offset, size } of cutTensor(placed.tensor, recordBytes)) {
      const isLast = offset + size === placed.tensor.size
      const padding = isLast ? placed.padding : 0
      const start = placed.position + offset
      const isSmall = size <= SMALL_BYTES
      const joins =
        shared.length > 0 && isSmall && placed.file === file && start === end && start + size - position <= SHARED_BYTES
      if (shared.length > 0 && !joins) yield flush()
      if (shared.length === 0) ({ file, position } = { file: placed.file, position: start })
      shared.push({ placed, offset, start: start - position, size, padding })
      end = start + size + padding
      if (!isSmall) yield flush()
    }
  }
  if (shared.length > 0) yield flush()
}
