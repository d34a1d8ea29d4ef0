/**
 * A file that appears whole or not at all. It is written as `<path>.partial` beside its place; only when every byte is
 * on the disk does it take the place, by one rename. Until then what stood there is untouched.
 */
import type { BigIntStats } from 'node:fs'
import { dirname, resolve } from 'node:path'
import fs from 'fs-extra'
import { AprError, locateSystemError } from '../errors.js'
import { checkRegularFile } from '../source.js'
import type { FileIdentity } from '../tensor.js'

export class OutputFile {
  /** Where the file will stand, links resolved. */
  readonly path: string
  readonly partialPath: string
  readonly #overwrite: boolean
  #descriptor: number | undefined
  #isPartialThere = false

  private constructor(path: string, overwrite: boolean, suffix: string) {
    this.path = path
    this.partialPath = path + suffix
    this.#overwrite = overwrite
  }

  /**
   * Creates the partial file.
   * @param suffix what its name has behind that of the output
   * @throws AprError `APR_EXISTS` when the output exists and may not be replaced, or its partial file is there
   * @throws the file system's own errors
   */
  static async create(path: string, overwrite: boolean, suffix = '.partial'): Promise<OutputFile> {
    const output = new OutputFile(await followLink(path), overwrite, suffix)
    await output.#checkPlace()
    output.#descriptor = await fs.open(output.partialPath, 'wx+')
    output.#isPartialThere = true
    return output
  }

  /** @throws AprError `APR_SAME_FILE` when the output would replace the file that `origin` is */
  async refuse(origin: FileIdentity): Promise<void> {
    const place = await statOrUndefined(this.path)
    if (place && place.dev === origin.device && place.ino === origin.inode) {
      throw new AprError('APR_SAME_FILE', 'expected an output that is not the input, found the same file', {
        file: this.path,
      })
    }
  }

  /** Writes all of `bytes` at `position`. Writes may overlap in time. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    const descriptor = this.#opened()
    await this.#located(position, async () => {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await fs.write(descriptor, bytes, done, bytes.length - done, position + done)
        if (bytesWritten === 0) throw Object.assign(new Error('ENOSPC: nothing was written'), { code: 'ENOSPC' })
        done += bytesWritten
      }
    })
  }

  /** Fills all of `target` with bytes that were written. */
  async read(target: Uint8Array, position: number): Promise<void> {
    const descriptor = this.#opened()
    await this.#located(position, async () => {
      for (let done = 0; done < target.length;) {
        const { bytesRead } = await fs.read(descriptor, target, done, target.length - done, position + done)
        if (bytesRead === 0) throw Object.assign(new Error('EIO: what was written is gone'), { code: 'EIO' })
        done += bytesRead
      }
    })
  }

  /** Cuts or extends the file to `size` bytes. */
  async resize(size: number): Promise<void> {
    await this.#located(size, () => fs.ftruncate(this.#opened(), size))
  }

  /** Waits until every byte written so far is on the disk. */
  async sync(): Promise<void> {
    await this.#located(undefined, () => fs.fsync(this.#opened()))
  }

  /** Puts the file in its place. No write may be under way. */
  async commit(): Promise<void> {
    await this.sync()
    await this.#close()
    await this.#checkPlace()
    await fs.rename(this.partialPath, this.path)
    this.#isPartialThere = false
    await syncFolder(dirname(this.path))
  }

  /** Closes and removes the partial file, if it is still there. No write may be under way. */
  async discard(): Promise<void> {
    try {
      if (this.#descriptor !== undefined) await this.#close()
    } finally {
      if (this.#isPartialThere) await fs.remove(this.partialPath)
      this.#isPartialThere = false
    }
  }

  async #close(): Promise<void> {
    const descriptor = this.#opened()
    this.#descriptor = undefined
    await this.#located(undefined, () => fs.close(descriptor))
  }

  async #checkPlace(): Promise<void> {
    const place = await statOrUndefined(this.path)
    if (place === undefined) return
    checkRegularFile(place, this.path)
    if (!this.#overwrite) {
      throw new AprError('APR_EXISTS', 'expected no file at the output, found one; use overwrite to replace it', {
        file: this.path,
      })
    }
  }

  #opened(): number {
    if (this.#descriptor === undefined) throw new Error('the output file is not open')
    return this.#descriptor
  }

  /** The system's errors about a descriptor name no file: adds it. */
  async #located<T>(offset: number | undefined, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw locateSystemError(error, this.partialPath, offset)
    }
  }
}

async function statOrUndefined(path: string): Promise<BigIntStats | undefined> {
  try {
    return await fs.stat(path, { bigint: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** A link at the output's place stays, and the file it leads to is the output. */
async function followLink(path: string): Promise<string> {
  try {
    return await fs.realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return resolve(path)
    throw error
  }
}

/** Makes a rename last through a power failure. Windows has no such call and needs none. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const descriptor = await fs.open(path, 'r')
  try {
    await fs.fsync(descriptor)
  } finally {
    await fs.close(descriptor)
  }
}
