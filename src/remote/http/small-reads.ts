/**
 * Small reads out of blocks that are kept a while: a header is read in many, and each of them is no request of its own. Of
 * blocks that are used one after the other a few are enough.
 */

/** Reads up to this size go through blocks; larger ones are data, and go straight. */
const SMALL_BYTES = 64 * 1024
const BLOCK_BYTES = 128 * 1024
const KEPT_BLOCKS = 8

export class SmallReads {
  readonly #fill: (target: Uint8Array, position: number) => Promise<void>
  /** By number, the one used last at the end. */
  readonly #blocks = new Map<number, Promise<Uint8Array>>()
  /** The file's first bytes, kept from its opening. */
  #start = new Uint8Array(0)

  constructor(fill: (target: Uint8Array, position: number) => Promise<void>) {
    this.#fill = fill
  }

  put(start: Uint8Array): void {
    this.#start = start.slice()
  }

  takes(target: Uint8Array): boolean {
    return target.length <= SMALL_BYTES
  }

  async read(target: Uint8Array, position: number, size: number): Promise<void> {
    if (position + target.length <= this.#start.length) {
      target.set(this.#start.subarray(position, position + target.length))
      return
    }
    for (let done = 0; done < target.length;) {
      const number = Math.floor((position + done) / BLOCK_BYTES)
      const block = await this.#block(number, size)
      const inBlock = position + done - number * BLOCK_BYTES
      const part = block.subarray(inBlock, inBlock + target.length - done)
      target.set(part, done)
      done += part.length
    }
  }

  #block(number: number, size: number): Promise<Uint8Array> {
    const start = number * BLOCK_BYTES
    const kept = this.#blocks.get(number)
    const block = kept ?? this.#load(number, start, Math.min(BLOCK_BYTES, size - start))
    this.#blocks.delete(number)
    this.#blocks.set(number, block)
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= KEPT_BLOCKS) break
      this.#blocks.delete(oldest)
    }
    return block
  }

  async #load(number: number, start: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    try {
      await this.#fill(bytes, start)
      return bytes
    } catch (error) {
      // The next read asks again.
      this.#blocks.delete(number)
      throw error
    }
  }
}
