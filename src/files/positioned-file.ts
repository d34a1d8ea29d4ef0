/** An open file that is read and written at positions. Its errors name it and the place in it. */
import type { BigIntStats } from 'node:fs'
import fs from 'fs-extra'
import { locateSystemError } from '../model/errors.js'

/** Bytes that are read back at once, to prove them or to move them. */
export const CHUNK_BYTES = 1024 * 1024

/** After so many bytes written the disk is given them: enough that what this costs, some milliseconds, does not count. */
const SYNC_BYTES = 128 * 1024 * 1024

export class PositionedFile {
  readonly path: string
  #descriptor: number | undefined
  /** Bytes that were written, and that the disk was not given yet. */
  #unsyncedBytes = 0
  #syncing: Promise<void> | undefined
  /** The system tells a failure once: what it told here, `sync` would not be told. */
  #syncError: unknown

  private constructor(path: string, descriptor: number) {
    this.path = path
    this.#descriptor = descriptor
  }

  /**
   * @param flags as of `fs.open`
   * @param mode who may do what with a new file; less what the process's umask takes away
   */
  static async open(path: string, flags: 'r' | 'r+' | 'wx+', mode = 0o666): Promise<PositionedFile> {
    return new PositionedFile(path, await fs.open(path, flags, mode))
  }

  /** The system's number of the open file; undefined once it is closed. */
  get descriptor(): number | undefined {
    return this.#descriptor
  }

  /** Writes all of `bytes` at `position`. Writes may overlap in time. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    await this.#located(position, async (descriptor) => {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await fs.write(descriptor, bytes, done, bytes.length - done, position + done)
        if (bytesWritten === 0) throw Object.assign(new Error('ENOSPC: nothing was written'), { code: 'ENOSPC' })
        done += bytesWritten
      }
    })
    this.#unsyncedBytes += bytes.length
  }

  /** Takes note that others have written so many bytes, through descriptors of their own. */
  wrote(size: number): void {
    this.#unsyncedBytes += size
  }

  /**
   * Where much was written, has the disk take it while the work goes on: `sync` would wait for all of it at the end. What
   * fails fails in `sync`.
   */
  startSync(): void {
    if (this.#unsyncedBytes < SYNC_BYTES || this.#syncing) return
    this.#unsyncedBytes = 0
    this.#syncing = this.#located(undefined, (descriptor) => fs.fdatasync(descriptor))
      .catch((error: unknown) => {
        this.#syncError ??= error
      })
      .finally(() => {
        this.#syncing = undefined
      })
  }

  /** Fills `target` with the bytes at `position`. Returns how many there were: fewer at the end of the file. */
  async read(target: Uint8Array, position: number): Promise<number> {
    let done = 0
    while (done < target.length) {
      const { bytesRead } = await this.#located(position + done, (descriptor) =>
        fs.read(descriptor, target, done, target.length - done, position + done),
      )
      if (bytesRead === 0) break
      done += bytesRead
    }
    return done
  }

  /** Cuts or extends the file to `size` bytes. */
  async resize(size: number): Promise<void> {
    await this.#located(size, (descriptor) => fs.ftruncate(descriptor, size))
  }

  /** What the system knows of the open file, whatever stands at its path now. */
  async stat(): Promise<BigIntStats> {
    return await this.#located(undefined, (descriptor) => fs.fstat(descriptor, { bigint: true }))
  }

  /** Changes who may do what with the file: permission bits. */
  async chmod(mode: number): Promise<void> {
    await this.#located(undefined, (descriptor) => fs.fchmod(descriptor, mode))
  }

  /** Changes whose the file is; -1 leaves owner or group. */
  async chown(owner: number, group: number): Promise<void> {
    await this.#located(undefined, (descriptor) => fs.fchown(descriptor, owner, group))
  }

  /** Waits until every byte written so far is on the disk. */
  async sync(): Promise<void> {
    await this.#syncing
    if (this.#syncError !== undefined) throw this.#syncError as Error
    await this.#located(undefined, (descriptor) => fs.fsync(descriptor))
  }

  /** Closes the file, once. No read or write may be under way. */
  async close(): Promise<void> {
    await this.#syncing
    if (this.#descriptor === undefined) return
    await this.#located(undefined, (descriptor) => {
      this.#descriptor = undefined
      return fs.close(descriptor)
    })
  }

  /** The system's errors about a descriptor name no file: adds it. */
  async #located<T>(offset: number | undefined, work: (descriptor: number) => Promise<T>): Promise<T> {
    if (this.#descriptor === undefined) throw new Error(`${this.path} is closed`)
    try {
      return await work(this.#descriptor)
    } catch (error) {
      throw locateSystemError(error, this.path, offset)
    }
  }
}
