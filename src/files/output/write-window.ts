/**
 * Writes that wait for their turn, bounded in bytes. The system lets one at a time into a file: a second would only hold a
 * thread. Small ones that stand side by side are gathered, so that a model of many small tensors does not cost a system call
 * each.
 */
import type { ModelOutput } from './model-output.js'

/** Up to this size bytes are gathered: below it a write costs more than the copy. */
const SMALL_BYTES = 64 * 1024
/** Bytes that are gathered before they are written. */
const GATHERED_BYTES = 256 * 1024

/** Where bytes go. */
export interface WritePlace {
  readonly file: number
  /** In bytes. */
  readonly position: number
  /** Bytes behind them that no tensor has, and that may be written as zeros. */
  readonly padding: number
}

interface Write {
  readonly bytes: Uint8Array
  readonly file: number
  readonly position: number
  /** Called when they are written. */
  readonly callbacks: readonly (() => void)[]
}

export class WriteWindow {
  readonly #output: ModelOutput
  readonly #highWaterMark: number
  readonly #waiting: Write[] = []
  /** The write that is under way; it starts the next. */
  #current: Promise<void> | undefined
  #pendingBytes = 0
  #error: unknown
  #gathered = new Uint8Array(0)
  #gatheredFile = 0
  #gatheredStart = 0
  #gatheredBytes = 0
  #gatheredPadding = 0
  #gatheredCallbacks: (() => void)[] = []

  constructor(output: ModelOutput, highWaterMark: number) {
    this.#output = output
    this.#highWaterMark = highWaterMark
  }

  /**
   * Takes bytes for a place; resolves when the next may come, which is before they are written.
   * @param released called when their memory is no longer needed
   * @param written called when they are written
   * @throws the error of an earlier write
   */
  async write(bytes: Uint8Array, place: WritePlace, released: () => void, written: () => void): Promise<void> {
    this.#check()
    if (bytes.length <= SMALL_BYTES) {
      this.#gather(bytes, place)
      this.#gatheredCallbacks.push(written)
      released()
    } else {
      this.#start(bytes, place.file, place.position, [released, written])
    }
    while (this.#pendingBytes > this.#highWaterMark) {
      await this.#current
      this.#check()
    }
  }

  /** Writes what was gathered, and waits for all writes. */
  async flush(): Promise<void> {
    this.#writeGathered()
    await this.settled()
    this.#check()
  }

  /** Waits until no write is under way, whether they succeed or fail. */
  async settled(): Promise<void> {
    while (this.#current) await this.#current
  }

  #gather(bytes: Uint8Array, { file, position, padding }: WritePlace): void {
    const gap = position - this.#gatheredStart - this.#gatheredBytes
    const end = this.#gatheredBytes + gap + bytes.length
    // Zeros are written only where nothing else stands: in a gap there may be a tensor that has come already.
    const isBehind = gap === 0 || gap === this.#gatheredPadding
    if (file !== this.#gatheredFile || !isBehind || end > this.#gathered.length) {
      this.#writeGathered()
      this.#gathered = new Uint8Array(GATHERED_BYTES)
      this.#gatheredFile = file
      this.#gatheredStart = position
    }
    this.#gathered.set(bytes, position - this.#gatheredStart)
    this.#gatheredBytes = position - this.#gatheredStart + bytes.length
    this.#gatheredPadding = padding
  }

  #writeGathered(): void {
    if (this.#gatheredBytes > 0) {
      const bytes = this.#gathered.subarray(0, this.#gatheredBytes)
      this.#start(bytes, this.#gatheredFile, this.#gatheredStart, this.#gatheredCallbacks)
    }
    this.#gathered = new Uint8Array(0)
    this.#gatheredBytes = 0
    this.#gatheredCallbacks = []
  }

  #start(bytes: Uint8Array, file: number, position: number, callbacks: readonly (() => void)[]): void {
    this.#waiting.push({ bytes, file, position, callbacks })
    // What is held: a record that was quantized in place holds its source's buffer.
    this.#pendingBytes += bytes.buffer.byteLength
    if (!this.#current) this.#next()
  }

  #next(): void {
    const write = this.#waiting.shift()
    this.#current = write && this.#perform(write)
  }

  async #perform({ bytes, file, position, callbacks }: Write): Promise<void> {
    const size = bytes.buffer.byteLength
    try {
      await this.#output.write(bytes, file, position)
      callbacks.forEach((callback) => callback())
    } catch (error) {
      this.#error ??= error
      for (const dropped of this.#waiting.splice(0)) this.#pendingBytes -= dropped.bytes.buffer.byteLength
    }
    this.#pendingBytes -= size
    this.#next()
  }

  #check(): void {
    if (this.#error !== undefined) throw this.#error as Error
  }
}
