/**
 * A file that appears whole or not at all. It is written as `<path>.partial` beside its place; only when every byte is
 * on the disk does it take the place, by one rename. Until then what stood there is untouched. A lock beside it keeps
 * other processes off, and its journal lets a later run go on where this one ended.
 */
import { dirname } from 'node:path'
import fs from 'fs-extra'
import { AprError } from '../model/errors.js'
import { openPartial, type Start } from './earlier-run.js'
import type { OutputOptions } from './output-options.js'
import { checkLock, holdsLock, lock } from './lock/lock.js'
import { Journal, type JournalEntry } from './journal.js'
import { OpenOutput } from './lock/open-outputs.js'
import {
  checkPlace,
  exists,
  followLink,
  journalPath,
  movedPath,
  partialPath,
  refuseSameFile,
  statOrUndefined,
  syncFolder,
} from './output-place.js'
import { permitAs, permitNew, PRIVATE_MODE } from './permissions.js'
import { CHUNK_BYTES, PositionedFile } from './positioned-file.js'

/** How file systems without hard links say so. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']

export class OutputFile {
  /** Where the file will stand, links resolved. */
  readonly path: string
  /** What an earlier run has left, proven. */
  get resumed(): ReadonlyMap<string, JournalEntry> {
    return this.#resumed
  }
  /** Whether the whole file is in its place: from then on nothing can be taken back. */
  get isInPlace(): boolean {
    return this.#isInPlace
  }
  /** Why nothing could be gone on with, where `resume` was asked for and something was there. */
  readonly restartReason: string | undefined
  readonly #options: OutputOptions
  readonly #open: OpenOutput
  readonly #journal: Journal
  readonly #resumed: Map<string, JournalEntry>
  #partial: PositionedFile
  #isDone = false
  #isInPlace = false

  private constructor(path: string, options: OutputOptions, open: OpenOutput, journal: Journal, start: Start) {
    this.path = path
    this.#options = options
    this.#open = open
    this.#journal = journal
    this.#partial = start.partial
    this.#resumed = new Map(start.entries.map((entry) => [entry.name, entry]))
    this.restartReason = start.restartReason
  }

  /**
   * Locks the output and opens its partial file.
   * @param path an absolute one
   * @throws AprError `APR_EXISTS` when the output exists and may not be replaced, or a partial file stands there that
   *   is none of ours; `APR_SAME_FILE` when it would replace the input; `APR_BUSY` when somebody else is writing it
   * @throws the file system's own errors; the signal's reason
   */
  static async create(path: string, options: OutputOptions): Promise<OutputFile> {
    const target = await followLink(path)
    const open = await OpenOutput.enter(target, options.signal)
    try {
      if (options.origin) await refuseSameFile(target, options.origin)
      await checkPlace(target, options.overwrite)
      const locked = await lock(journalPath(target), (created) => (open.lock = created))
      return await OutputFile.#start(target, options, open, new Journal(locked))
    } catch (error) {
      open.leave()
      throw error
    }
  }

  static async #start(path: string, options: OutputOptions, open: OpenOutput, journal: Journal): Promise<OutputFile> {
    let start: Start | undefined
    try {
      open.partial = 'opening'
      start = await openPartial(path, journal.lock.inherited, options)
      open.isKept = isKept(options)
      open.partial = 'open'
      if (options.job !== undefined && start.entries.length > 0) await journal.goOn(options.job, start.entries)
      else await journal.begin(options.job)
      return new OutputFile(path, options, open, journal, start)
    } catch (error) {
      // What an earlier run has left is left again, with what says whose it is.
      const keep = journal.lock.inherited !== undefined
      await abandon(path, journal, start?.partial, keep).catch(() => undefined)
      throw error
    }
  }

  /** Takes a tensor of an earlier run as not written. */
  forget(name: string): void {
    this.#resumed.delete(name)
  }

  /** Writes all of `bytes` at `position`. Writes may overlap in time. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    await this.#partial.write(bytes, position)
  }

  /** Notes that a tensor is written in full. */
  async note(entry: JournalEntry): Promise<void> {
    if (this.#options.job !== undefined) await this.#journal.add(entry)
  }

  /** Moves runs of bytes: the partial file afterwards holds these and nothing else. No write may be under way. */
  async rearrange(moves: Iterable<{ from: number; to: number; size: number }>): Promise<void> {
    // A process that slept for long may have been taken for dead: the files are another's then.
    await checkLock(this.#journal.lock)
    const moved = await PositionedFile.open(movedPath(this.path), 'wx+', PRIVATE_MODE)
    try {
      const chunk = new Uint8Array(CHUNK_BYTES)
      for (const { from, to, size } of moves) {
        for (let done = 0; done < size; done += chunk.length) {
          const part = chunk.subarray(0, Math.min(chunk.length, size - done))
          const found = await this.#partial.read(part, from + done)
          if (found < part.length) {
            throw new AprError('APR_TRUNCATED', `expected ${part.length} bytes that were written, found ${found}`, {
              file: this.#partial.path,
              offset: from + done,
            })
          }
          await moved.write(part, to + done)
        }
      }
      await this.#partial.close()
      await checkLock(this.#journal.lock)
      await fs.rename(moved.path, this.#partial.path)
      this.#partial = await PositionedFile.open(this.#partial.path, 'r+')
    } finally {
      await moved.close()
    }
  }

  /**
   * Ends the file and puts it in its place.
   * @param head the bytes before the data; its first `headerBytes` are written last, so that nobody can take the
   *   partial file for a whole one
   * @param footer the last bytes of the file
   * @param checkWanted throws where the output is no longer wanted; called last, before the file takes its place
   */
  async commit(
    head: Uint8Array,
    headerBytes: number,
    footer: Uint8Array,
    fileSize: number,
    checkWanted: () => void = () => undefined,
  ): Promise<void> {
    const partial = this.#partial
    await checkLock(this.#journal.lock)
    await partial.resize(fileSize)
    await partial.write(footer, fileSize - footer.length)
    await partial.write(head.subarray(headerBytes), headerBytes)
    await this.#permit()
    await partial.sync()
    await partial.write(head.subarray(0, headerBytes), 0)
    await partial.sync()
    await partial.close()
    await checkLock(this.#journal.lock)
    await this.#takePlace(checkWanted)
    this.#isDone = true
    this.#isInPlace = true
    this.#open.end()
    this.#open.isKept = false
    // The file is in its place and whole: what fails from here on, a power failure aside, changes nothing about it.
    await syncFolder(dirname(this.path)).catch(() => undefined)
    // While there is a partial file there is a journal, which tells a later run whose it is.
    const isGone = await fs.remove(partialPath(this.path)).then(
      () => true,
      () => false,
    )
    await this.#journal.close(!isGone).catch(() => undefined)
    this.#open.leave()
  }

  /** Closes and removes the partial file, unless it is done or to be gone on with. No write may be under way. */
  async discard(): Promise<void> {
    if (this.#isDone) return
    this.#isDone = true
    this.#open.end()
    try {
      await abandon(this.path, this.#journal, this.#partial, isKept(this.#options))
    } finally {
      this.#open.leave()
    }
  }

  /** Last of all but the header, and by what stands there now: it may have been made private in the meantime. */
  async #permit(): Promise<void> {
    const replaced = this.#options.overwrite ? await statOrUndefined(this.path) : undefined
    if (replaced) await permitAs(replaced, this.#partial)
    // The lock is a file as this process makes any.
    else await permitNew(this.#partial, await this.#journal.lock.file.stat(), this.#options.origin?.mode)
  }

  /** Unlike a rename, a link never replaces a file that came in the meantime. Not every file system has links. */
  async #takePlace(checkWanted: () => void): Promise<void> {
    const partial = partialPath(this.path)
    await checkPlace(this.path, this.#options.overwrite)
    checkWanted()
    if (!this.#options.overwrite) {
      try {
        await fs.link(partial, this.path)
        return
      } catch (error) {
        const { code = '' } = error as NodeJS.ErrnoException
        if (code === 'EEXIST') throw exists(this.path)
        if (!NO_LINKS.includes(code)) throw error
      }
    }
    await fs.rename(partial, this.path)
  }
}

/** Whether a later run goes on with what a failed one leaves. */
function isKept({ resume, job }: OutputOptions): boolean {
  return resume === true && job !== undefined
}

/**
 * Bytes on the disk that a new run would use again or free: those of an earlier run's partial file.
 * @param path links resolved
 */
export async function partialBytes(path: string): Promise<number> {
  const stats = await statOrUndefined(partialPath(path))
  return stats ? Number(stats.blocks) * 512 : 0
}

/**
 * Gives a locked output up: removes its partial file, or with `keep` leaves it. The journal stays where the partial
 * file does, also where it cannot be removed: a later run removes both.
 */
async function abandon(
  path: string,
  journal: Journal,
  partial: PositionedFile | undefined,
  keep: boolean,
): Promise<void> {
  let isLeft = true
  try {
    await partial?.close()
  } finally {
    try {
      if (!keep && (await holdsLock(journal.lock))) {
        // Without a file of its own it has none to remove.
        if (partial) await fs.remove(partialPath(path))
        if (partial) await fs.remove(movedPath(path))
        isLeft = false
      }
    } finally {
      await journal.close(isLeft)
    }
  }
}
