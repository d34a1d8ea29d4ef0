/**
 * Memory for what is not whole yet: beyond a few blocks it is a temporary file, which nobody else sees. Experts that are
 * stacked come one by one, and each leaves a block of its own half full.
 */
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fs from 'fs-extra'
import { PRIVATE_MODE } from '../permissions.js'
import { PositionedFile } from '../../positioned-file.js'

/** A block that is being filled; what nobody puts is zero. */
export interface OpenBlock {
  put(bytes: Uint8Array, position: number): Promise<void>
  /** All of it, in memory. Then it is no longer open. */
  take(): Promise<Uint8Array>
}

/** Bytes of open blocks in memory, as far as a few blocks are not more. */
const MEMORY_BYTES = 32 * 1024 * 1024
const LEAST_IN_MEMORY = 4

export class Spill {
  readonly #blockBytes: number
  readonly #mostInMemory: number
  readonly #free: Uint8Array[] = []
  readonly #freeSlots: number[] = []
  #inMemory = 0
  #slots = 0
  #file: Promise<PositionedFile> | undefined
  #path: string | undefined

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes
    this.#mostInMemory = Math.max(LEAST_IN_MEMORY, Math.floor(MEMORY_BYTES / blockBytes))
  }

  open(): OpenBlock {
    return this.#inMemory < this.#mostInMemory ? this.#openInMemory() : this.#openInFile()
  }

  /** Takes memory back that `take` has given. */
  release(memory: Uint8Array): void {
    this.#free.push(memory)
  }

  async close(): Promise<void> {
    this.#free.length = 0
    const opening = this.#file
    this.#file = undefined
    const file = await opening?.catch(() => undefined)
    await file?.close()
    if (this.#path !== undefined) await fs.remove(this.#path)
  }

  #memory(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(this.#blockBytes)
  }

  #openInMemory(): OpenBlock {
    this.#inMemory++
    const memory = this.#memory().fill(0)
    return {
      put: (bytes, position) => {
        memory.set(bytes, position)
        return Promise.resolve()
      },
      take: () => {
        this.#inMemory--
        return Promise.resolve(memory)
      },
    }
  }

  #openInFile(): OpenBlock {
    const used = this.#freeSlots.pop()
    const slot = used ?? this.#slots++
    const start = slot * this.#blockBytes
    const file = (this.#file ??= this.#openFile())
    // What another block has left there would stand between tensors.
    const cleared = used === undefined ? file : file.then(async (opened) => await this.#clear(opened, start))
    cleared.catch(() => undefined)
    return {
      put: async (bytes, position) => {
        await (await cleared).write(bytes, start + position)
      },
      take: async () => {
        const memory = this.#memory().fill(0)
        await (await cleared).read(memory, start)
        this.#freeSlots.push(slot)
        return memory
      },
    }
  }

  async #clear(file: PositionedFile, start: number): Promise<PositionedFile> {
    await file.write(new Uint8Array(this.#blockBytes), start)
    return file
  }

  async #openFile(): Promise<PositionedFile> {
    const path = join(tmpdir(), `apr-stream-${randomBytes(8).toString('hex')}.blocks`)
    const file = await PositionedFile.open(path, 'wx+', PRIVATE_MODE)
    // Whatever becomes of this process nothing is left. On Windows it goes when it is closed.
    if (process.platform === 'win32') this.#path = path
    else await fs.remove(path)
    return file
  }
}
