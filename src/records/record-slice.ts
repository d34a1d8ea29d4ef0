/** A record's blocks, and which elements of its tensor they are. */
import { DTYPES } from '../model/dtypes.js'
import type { TensorRecord } from '../model/record.js'
import { blockElement, elementCount, type TensorInfo } from '../model/tensor.js'
import { aprQ8Scale } from '../quant/decode.js'
import { paddedColumns, type Slice } from '../quality/pairs.js'

export interface RecordSlice {
  readonly first: number
  readonly elements: number
  readonly slice: Slice
}

/** Slices of the records of one stream. */
export class RecordSlices {
  /** Scales of the APR_Q8 tensors that have begun: only a tensor's first record holds its scale. */
  readonly #scales = new Map<string, number>()

  /**
   * @param data the record's bytes; the slice's are a view of them where the dtype has a head, else the same
   */
  of({ name, dtype, shape, size, offset }: TensorRecord, data: Uint8Array): RecordSlice {
    const { blockBytes, headBytes } = DTYPES[dtype]
    const hasHead = headBytes > 0 && offset === 0
    if (hasHead) this.#scales.set(name, aprQ8Scale(data))
    const columns = paddedColumns({ name, dtype, shape, size })
    const elementAt = (bytes: number): number => {
      if (bytes === size) return elementCount(shape)
      return blockElement(dtype, columns === undefined ? [] : shape, Math.max(0, bytes - headBytes) / blockBytes)
    }
    const first = elementAt(offset)
    const slice = {
      dtype,
      data: hasHead ? data.subarray(headBytes) : data,
      firstBlock: Math.max(0, offset - headBytes) / blockBytes,
      paddedColumns: columns,
      scale: this.#scales.get(name),
    }
    return { first, elements: elementAt(offset + data.length) - first, slice }
  }
}

/** The tensor alone, without what makes it a record. */
export function tensorOf({ name, dtype, shape, size }: TensorInfo): TensorInfo {
  return { name, dtype, shape, size }
}
