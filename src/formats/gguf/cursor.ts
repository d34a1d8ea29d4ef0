/** Reads a header from front to back, piece by piece: what is bad in it costs no more than the bytes up to there. */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'

/** Bytes that are read at once, at the least. */
const CHUNK_BYTES = 256 * 1024
/** Of a header at the most: that of a model with the largest vocabularies takes some ten megabytes. */
const MAX_HEADER_BYTES = 256 * 1024 * 1024

export class Cursor {
  readonly #source: ByteSource
  #chunk = new Uint8Array(0)
  #view = new DataView(this.#chunk.buffer)
  /** Offset of the chunk in the file, and of the next byte in the chunk. */
  #start = 0
  #next = 0
  /** From here on, in the chunk, bytes are kept. */
  #mark: number | undefined

  constructor(source: ByteSource) {
    this.#source = source
  }

  /** Offset of the next byte in the file. */
  get position(): number {
    return this.#start + this.#next
  }

  /** Bytes from here to the end of the file. */
  get rest(): number {
    return this.#source.size - this.position
  }

  /** Whether the next `bytes` bytes are there without a read. */
  has(bytes: number): boolean {
    return this.#chunk.length - this.#next >= bytes
  }

  /** @throws AprError `APR_TRUNCATED` where the file ends before so many bytes, `APR_LIMIT` for more than a header may have */
  checkRest(bytes: number, what: string): void {
    if (bytes > this.rest) {
      const message = `expected ${what} of ${bytes} bytes, found the end of the file ${this.rest} bytes on`
      throw new AprError('APR_TRUNCATED', message, { offset: this.position })
    }
    if (this.position + bytes > MAX_HEADER_BYTES) {
      const message = `expected at most ${MAX_HEADER_BYTES} bytes before the data, found more`
      throw new AprError('APR_LIMIT', message, { offset: this.position })
    }
  }

  /**
   * Reads on until the next `bytes` bytes are there.
   * @throws AprError as `checkRest`
   */
  async fill(bytes: number, what: string): Promise<void> {
    this.checkRest(bytes, what)
    if (this.has(bytes)) return
    const keep = this.#mark ?? this.#next
    const kept = this.#chunk.subarray(keep)
    const have = this.#chunk.length - this.#next
    // What is kept may be long: it grows by its own length, so that it is not copied again and again.
    const more = Math.min(
      this.#source.size - this.#start - this.#chunk.length,
      Math.max(bytes - have, CHUNK_BYTES, kept.length),
    )
    const chunk = new Uint8Array(kept.length + more)
    chunk.set(kept)
    await this.#source.read(chunk.subarray(kept.length), this.#start + this.#chunk.length)
    this.#start += keep
    this.#next -= keep
    if (this.#mark !== undefined) this.#mark = 0
    this.#chunk = chunk
    this.#view = new DataView(chunk.buffer)
  }

  /** The next u32, u64 or i64; the bytes must be there. */
  u32(): number {
    this.#next += 4
    return this.#view.getUint32(this.#next - 4, true)
  }

  u64(): bigint {
    this.#next += 8
    return this.#view.getBigUint64(this.#next - 8, true)
  }

  i64(): bigint {
    this.#next += 8
    return this.#view.getBigInt64(this.#next - 8, true)
  }

  /** The next bytes, which must be there. They stay until more are read. */
  take(bytes: number): Uint8Array {
    this.#next += bytes
    return this.#chunk.subarray(this.#next - bytes, this.#next)
  }

  skip(bytes: number): void {
    this.#next += bytes
  }

  /** Keeps the bytes from here on. */
  mark(): void {
    this.#mark = this.#next
  }

  /** A copy of the bytes since the mark. */
  marked(): Uint8Array {
    const bytes = this.#chunk.slice(this.#mark ?? this.#next, this.#next)
    this.#mark = undefined
    return bytes
  }
}
