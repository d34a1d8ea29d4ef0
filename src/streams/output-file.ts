/**
 * A file that appears whole or not at all. It is written as `<path>.partial` beside its place; only when every byte is
 * on the disk does it take the place, by one rename. Until then what stood there is untouched. A claim beside it keeps
 * other processes off, and its journal lets a later run go on where this one ended.
 */
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import fs from 'fs-extra'
import { AprError } from '../errors.js'
import type { FileIdentity } from '../tensor.js'
import { checkClaim, claim, isClaimed } from './claim.js'
import { Journal, parseJournal, type JournalEntry } from './journal.js'
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
import { PositionedFile } from './positioned-file.js'

export interface OutputOptions {
  /** Replace an existing file. */
  readonly overwrite: boolean
  /** Names the job: all that must be the same for another run to go on with its partial file. */
  readonly job?: string | undefined
  /** Go on from the partial file of an earlier run of the same job, and keep it when this run fails. */
  readonly resume?: boolean | undefined
  /** The input: an output that is the same file is refused. */
  readonly origin?: FileIdentity | undefined
}

/** How file systems without hard links say so. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']

/** Bytes that are read back at once, to prove them or to move them. */
const CHUNK_BYTES = 1024 * 1024

export class OutputFile {
  /** Where the file will stand, links resolved. */
  readonly path: string
  /** What an earlier run has left, proven. */
  get resumed(): ReadonlyMap<string, JournalEntry> {
    return this.#resumed
  }
  /** Why nothing could be gone on with, where `resume` was asked for and something was there. */
  readonly restartReason: string | undefined
  readonly #options: OutputOptions
  readonly #journal: Journal
  readonly #resumed: Map<string, JournalEntry>
  #partial: PositionedFile
  #isDone = false

  private constructor(path: string, options: OutputOptions, journal: Journal, start: Start) {
    this.path = path
    this.#options = options
    this.#journal = journal
    this.#partial = start.partial
    this.#resumed = new Map(start.entries.map((entry) => [entry.name, entry]))
    this.restartReason = start.restartReason
  }

  /**
   * Claims the output and opens its partial file.
   * @throws AprError `APR_EXISTS` when the output exists and may not be replaced, or a partial file stands there that
   *   is none of ours; `APR_BUSY` when another process is writing it
   * @throws the file system's own errors
   */
  static async create(path: string, options: OutputOptions): Promise<OutputFile> {
    const target = await followLink(path)
    if (options.origin) await refuseSameFile(target, options.origin)
    await checkPlace(target, options.overwrite)
    const journal = new Journal(await claim(journalPath(target)))
    let start: Start | undefined
    try {
      start = await openPartial(target, journal.claim.inherited, options)
      if (options.job !== undefined) await journal.begin(options.job)
      for (const entry of start.entries) void journal.add(entry).catch(() => undefined)
      return new OutputFile(target, options, journal, start)
    } catch (error) {
      await start?.partial.close()
      if (start) await fs.remove(partialPath(target))
      await journal.close(false)
      throw error
    }
  }

  /** @throws AprError `APR_SAME_FILE` when the output would replace the file that `origin` is */
  async refuse(origin: FileIdentity): Promise<void> {
    await refuseSameFile(this.path, origin)
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
    const moved = await PositionedFile.open(movedPath(this.path), 'wx+')
    try {
      const chunk = new Uint8Array(CHUNK_BYTES)
      for (const { from, to, size } of moves) {
        for (let done = 0; done < size; done += chunk.length) {
          const part = chunk.subarray(0, Math.min(chunk.length, size - done))
          await this.#partial.read(part, from + done)
          await moved.write(part, to + done)
        }
      }
      await this.#partial.close()
      await fs.rename(moved.path, this.#partial.path)
      this.#partial = await PositionedFile.open(this.#partial.path, 'r+')
    } finally {
      await moved.close()
      await fs.remove(moved.path)
    }
  }

  /**
   * Ends the file and puts it in its place.
   * @param head the bytes before the data; its first `headerBytes` are written last, so that nobody can take the
   *   partial file for a whole one
   * @param footer the last bytes of the file
   */
  async commit(head: Uint8Array, headerBytes: number, footer: Uint8Array, fileSize: number): Promise<void> {
    const partial = this.#partial
    await partial.resize(fileSize)
    await partial.write(footer, fileSize - footer.length)
    await partial.write(head.subarray(headerBytes), headerBytes)
    await partial.sync()
    await partial.write(head.subarray(0, headerBytes), 0)
    await partial.sync()
    await partial.close()
    await checkClaim(this.#journal.claim)
    await this.#takePlace()
    this.#isDone = true
    // The file is in its place and whole: what fails from here on, a power failure aside, changes nothing about it.
    await syncFolder(dirname(this.path)).catch(() => undefined)
    await this.#journal.close(false).catch(() => undefined)
  }

  /** Closes and removes the partial file, unless it is done or to be gone on with. No write may be under way. */
  async discard(): Promise<void> {
    if (this.#isDone) return
    this.#isDone = true
    const keep = this.#options.resume === true && this.#options.job !== undefined
    try {
      await this.#partial.close()
    } finally {
      if (!keep && (await isClaimed(this.#journal.claim))) await fs.remove(partialPath(this.path))
      await this.#journal.close(keep)
    }
  }

  /** Unlike a rename, a link never replaces a file that came in the meantime. Not every file system has links. */
  async #takePlace(): Promise<void> {
    const partial = partialPath(this.path)
    await checkPlace(this.path, this.#options.overwrite)
    if (!this.#options.overwrite) {
      try {
        await fs.link(partial, this.path)
        await fs.remove(partial).catch(() => undefined)
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

/** Bytes on the disk that a new run would use again or free: those of an earlier run's partial file. */
export async function partialBytes(path: string): Promise<number> {
  const stats = await statOrUndefined(partialPath(await followLink(path)))
  return stats ? Number(stats.blocks) * 512 : 0
}

interface Start {
  readonly partial: PositionedFile
  readonly entries: readonly JournalEntry[]
  readonly restartReason: string | undefined
}

async function openPartial(
  path: string,
  inherited: readonly string[] | undefined,
  options: OutputOptions,
): Promise<Start> {
  let restartReason: string | undefined
  if (inherited && options.resume) {
    const found = await proveEntries(path, inherited, options.job)
    if (typeof found !== 'string') return { ...found, restartReason: undefined }
    restartReason = found
  }
  if (inherited) {
    await fs.remove(partialPath(path))
    await fs.remove(movedPath(path))
  }
  try {
    return { partial: await PositionedFile.open(partialPath(path), 'wx+'), entries: [], restartReason }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new AprError(
      'APR_EXISTS',
      'expected no partial file at the output, found one that no run of this package has left (it has no journal); move it away',
      { file: partialPath(path) },
    )
  }
}

/** Opens the partial file and reads every noted tensor back. Returns why that cannot be gone on with, where so. */
async function proveEntries(
  path: string,
  inherited: readonly string[],
  job: string | undefined,
): Promise<Pick<Start, 'partial' | 'entries'> | string> {
  const journal = parseJournal(inherited)
  if (job === undefined || journal.job === undefined) return 'the partial file cannot be told to be of the same job'
  if (journal.job !== job) return 'the input, the options or the version are not those of the partial file'
  if ((await statOrUndefined(partialPath(path))) === undefined) return 'the partial file is gone'
  const partial = await PositionedFile.open(partialPath(path), 'r+')
  const chunk = new Uint8Array(CHUNK_BYTES)
  for (const { name, position, size, crc } of journal.entries) {
    let found = 0
    for (let done = 0; done < size; done += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, size - done))
      found = crc32(part.subarray(0, await partial.read(part, position + done)), found)
    }
    if (found !== crc) {
      await partial.close()
      return `the partial file is damaged in tensor ${name}`
    }
  }
  return { partial, entries: journal.entries }
}
