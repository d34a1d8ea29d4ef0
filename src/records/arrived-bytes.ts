/** Which bytes of a tensor have come, and their CRC-32: its records may come in any order, each byte once. */
import { combineCrc32 } from '../checksum/combine.js'
import { crc32 } from '../checksum/crc32.js'
import { AprError } from '../model/errors.js'
import type { TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'

/** Bytes that stand side by side, and their CRC-32. */
interface Run {
  readonly start: number
  end: number
  crc: number
}

export class ArrivedBytes {
  readonly #tensor: TensorInfo
  /** By their start, none next to another: one as long as the records come in order. */
  readonly #runs: Run[] = []
  /** Index of the run that the last record was added to: the next one mostly follows it. */
  #last = -1
  #received = 0

  /** @param crc of all bytes, where they are there already */
  constructor(tensor: TensorInfo, crc?: number) {
    this.#tensor = tensor
    if (crc === undefined || tensor.size === 0) return
    this.#runs.push({ start: 0, end: tensor.size, crc })
    this.#received = tensor.size
  }

  get isComplete(): boolean {
    return this.#received === this.#tensor.size
  }

  /** Of the whole tensor, once it is complete. */
  get crc(): number {
    return this.#runs[0]?.crc ?? 0
  }

  /**
   * Takes note of a record's bytes.
   * @throws AprError `APR_BAD_RECORD` for bytes outside the tensor, and such as have come before
   */
  add({ offset, data }: Pick<TensorRecord, 'offset' | 'data'>): void {
    this.#add(offset, data.length, (before) => crc32(data, before))
  }

  /** The same of bytes that were looked at elsewhere. */
  addChecked(offset: number, size: number, crc: number): void {
    this.#add(offset, size, (before) => combineCrc32(before, crc, size))
  }

  /** @param crcBehind their CRC-32 behind bytes that have another */
  #add(offset: number, length: number, crcBehind: (before: number) => number): void {
    const end = offset + length
    const { size } = this.#tensor
    if (end > size) throw this.#wrong(`expected at most ${size} bytes, found ${end}`)
    if (length === 0) return
    const runs = this.#runs
    if (runs[this.#last]?.end !== offset) this.#last = this.#lastUpTo(offset)
    const before = runs[this.#last]
    const next = runs[this.#last + 1]
    if (before && before.end > offset) throw this.#twice(offset, Math.min(end, before.end))
    if (next && next.start < end) throw this.#twice(next.start, Math.min(end, next.end))

    let run = before
    if (run?.end === offset) {
      run.crc = crcBehind(run.crc)
      run.end = end
    } else {
      run = { start: offset, end, crc: crcBehind(0) }
      runs.splice(++this.#last, 0, run)
    }
    if (next?.start === end) {
      run.crc = combineCrc32(run.crc, next.crc, next.end - next.start)
      run.end = next.end
      runs.splice(this.#last + 1, 1)
    }
    this.#received += length
  }

  /** @throws AprError `APR_BAD_RECORD` where some have not come */
  checkComplete(): void {
    if (this.isComplete) return
    const [first] = this.#runs
    const missing = first?.start === 0 ? first.end : 0
    const what = `expected ${this.#tensor.size} bytes, found ${this.#received} before the end of the stream`
    throw this.#wrong(`${what}; those from ${missing} on are missing`)
  }

  /** Index of the last run that starts there or before; -1 where none does. */
  #lastUpTo(offset: number): number {
    let low = 0
    let high = this.#runs.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#runs[middle]?.start ?? 0) <= offset) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  #twice(start: number, end: number): AprError {
    return this.#wrong(`expected each of the tensor's bytes once, found those from ${start} to ${end} again`)
  }

  #wrong(what: string): AprError {
    return new AprError('APR_BAD_RECORD', what, { tensor: this.#tensor.name })
  }
}

/** @throws AprError `APR_BAD_RECORD` for a record of another dtype or shape than the tensor's first one */
export function checkSameTensor({ name, dtype, shape, size }: TensorRecord, tensor: TensorInfo): void {
  if (dtype === tensor.dtype && size === tensor.size && shape.join() === tensor.shape.join()) return
  throw new AprError(
    'APR_BAD_RECORD',
    `expected ${tensor.dtype} [${tensor.shape.join(', ')}] as in the tensor's first record, found ${dtype} [${shape.join(', ')}]`,
    { tensor: name },
  )
}
