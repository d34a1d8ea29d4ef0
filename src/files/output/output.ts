/**
 * An output that appears whole or not at all: a file, or several. Each is written as `<path>.partial` beside its place;
 * only when every byte is on the disk do they take their places, one by a single step, several by the file by which the
 * others are found. Until then what stood there is untouched. A lock beside the output keeps other processes off, and
 * its journal lets a later run go on where this one ended.
 */
import { dirname } from 'node:path'
import fs from 'fs-extra'
import { openParts, refuseForeign, type Start } from './earlier-run.js'
import { pathsOf, placesOf, stalePlaces, type FileNames } from './output-files.js'
import type { OutputOptions } from './output-options.js'
import { checkLock, holdsLock, lock } from './lock/lock.js'
import { Journal, parseJournal, type JournalEntry } from './journal.js'
import type { ModelOutput } from './model-output.js'
import { OpenOutput } from './lock/open-outputs.js'
import {
  checkPlace,
  journalPath,
  movedPath,
  partialPath,
  refuseSameFile,
  statOrUndefined,
  syncFolder,
  type OutputPlace,
} from './output-place.js'
import { closeParts, finishPart, type Ending, type Part, type Place } from './part.js'
import { permitAs, permitNew } from './permissions.js'
import { placeFiles, putInPlace, recoverPlacing, removeReplaced, type Paths } from './placing.js'
import { rearrangeParts, type Move } from './rearrange.js'

/** Which file a partial file is. */
export interface PartialFile {
  readonly path: string
  readonly device: bigint
  readonly inode: bigint
}

export class Output implements ModelOutput {
  readonly place: OutputPlace
  /** What an earlier run has left, proven. */
  get resumed(): ReadonlyMap<string, JournalEntry> {
    return this.#resumed
  }
  /** Whether all is in its place: from then on nothing can be taken back. */
  get isInPlace(): boolean {
    return this.#isInPlace
  }
  /** Why nothing could be gone on with, where `resume` was asked for and something was there. */
  readonly restartReason: string | undefined
  readonly #options: OutputOptions
  readonly #open: OpenOutput
  readonly #journal: Journal
  readonly #resumed: Map<string, JournalEntry>
  #parts: readonly Part[]
  #isDone = false
  #isInPlace = false

  private constructor(place: OutputPlace, options: OutputOptions, open: OpenOutput, journal: Journal, start: Start) {
    this.place = place
    this.#options = options
    this.#open = open
    this.#journal = journal
    this.#parts = start.parts
    this.#resumed = new Map(start.entries.map((entry) => [entry.name, entry]))
    this.restartReason = start.restartReason
  }

  /**
   * Locks the output and opens its partial files.
   * @throws AprError `APR_EXISTS` when the output exists and may not be replaced, or a partial file stands there that
   *   is none of ours; `APR_SAME_FILE` when it would replace the input; `APR_BUSY` when somebody else is writing it
   * @throws the file system's own errors; the signal's reason
   */
  static async create(place: OutputPlace, files: FileNames, options: OutputOptions): Promise<Output> {
    const open = await OpenOutput.enter(place.path, options.signal)
    try {
      const places = await placesOf(place, files)
      for (const { path } of places) await refuseSameFile(path, options.origin)
      const [only] = places.length === 1 ? places : []
      if (only) await checkPlace(only.path, options.overwrite)
      if (place.isNewFolder && (await makeFolder(place.folder))) open.folder = place.folder
      const locked = await lock(journalPath(place.path), (created) => (open.lock = created))
      return await Output.#start(place, places, options, open, new Journal(locked))
    } catch (error) {
      await leave(open)
      throw error
    }
  }

  static async #start(
    place: OutputPlace,
    places: readonly Place[],
    options: OutputOptions,
    open: OpenOutput,
    journal: Journal,
  ): Promise<Output> {
    const { job } = options
    const names = places.map(({ name }) => name)
    let start: Start | undefined
    try {
      open.partial = 'opening'
      open.places = places.map(({ path }) => path)
      const { inherited } = journal.lock
      const earlier = inherited && parseJournal(inherited)
      if (earlier?.placing) await recoverPlacing(await pathsOf(place, earlier.placing))
      // Before that it could not be told what was there, and of several what is an earlier run's.
      if (earlier?.placing || places.length > 1) {
        for (const { path } of places) await checkPlace(path, options.overwrite)
      }
      await stalePlaces(place, names, options)
      // Of several files the journal tells whose they are before there are any.
      start = await openParts(place, places, earlier, options, async () => {
        if (places.length > 1) await journal.begin(names, job)
      })
      open.isKept = isKept(options)
      open.partial = 'open'
      if (job !== undefined && start.entries.length > 0) await journal.goOn(names, job, start.entries)
      else if (places.length === 1 || start.isResumed) await journal.begin(names, job)
      return new Output(place, options, open, journal, start)
    } catch (error) {
      // What an earlier run has left is left again, with what says whose it is.
      const keep = journal.lock.inherited !== undefined
      await abandon(journal, start?.parts ?? [], open.places, keep).catch(() => undefined)
      throw error
    }
  }

  /** Takes a tensor of an earlier run as not written. */
  forget(name: string): void {
    this.#resumed.delete(name)
  }

  /** Whether these are its files. */
  hasFiles(files: FileNames): boolean {
    return files.length === this.#parts.length && files.every(({ name }, i) => name === this.#parts[i]?.name)
  }

  /** Writes all of `bytes` at a position of a file. Writes may overlap in time. */
  async write(bytes: Uint8Array, file: number, position: number): Promise<void> {
    const { partial } = this.#part(file)
    await partial.write(bytes, position)
    partial.startSync()
  }

  /** The partial files, for threads that write them through descriptors of their own. */
  async partialFiles(): Promise<PartialFile[]> {
    return await Promise.all(
      this.#parts.map(async ({ partial }) => {
        const { dev, ino } = await partial.stat()
        return { path: partial.path, device: dev, inode: ino }
      }),
    )
  }

  /** Takes note that so many bytes of a file were written elsewhere. */
  wrote(size: number, file: number): void {
    const { partial } = this.#part(file)
    partial.wrote(size)
    partial.startSync()
  }

  /** Notes that a tensor is written in full. */
  async note(entry: JournalEntry): Promise<void> {
    if (this.#options.job !== undefined) await this.#journal.add(entry)
  }

  /**
   * Moves runs of bytes: the partial files afterwards are those of `files`, hold these and nothing else. No write may
   * be under way.
   */
  async rearrange(files: FileNames, moves: Iterable<Move>): Promise<void> {
    const places = await placesOf(this.place, files)
    const known = new Set(this.#open.places)
    const added = places.filter(({ path }) => !known.has(path))
    if (added.length > 0) {
      for (const { path } of added) await refuseSameFile(path, this.#options.origin)
      for (const { path } of added) await checkPlace(path, this.#options.overwrite)
      await refuseForeign(added)
      await this.#journal.addFiles([...this.#parts, ...added].map(({ name }) => name))
      this.#open.places = [...known, ...added.map(({ path }) => path)]
    }
    // A process that slept for long may have been taken for dead: the files are another's then.
    this.#parts = await rearrangeParts(this.#parts, places, moves, () => checkLock(this.#journal.lock))
  }

  /**
   * Ends the files and puts them in their places.
   * @param ending what a file lacks; asked for one after the other
   * @param checkWanted throws where the output is no longer wanted; called last, before anything takes its place
   */
  async commit(ending: (file: number) => Promise<Ending>, checkWanted: () => void = () => undefined): Promise<void> {
    await checkLock(this.#journal.lock)
    for (const [file, part] of this.#parts.entries()) {
      await finishPart(part, await ending(file), () => this.#permit(part))
    }
    await checkLock(this.#journal.lock)
    const paths = await this.#takePlace(checkWanted)
    this.#isDone = true
    this.#isInPlace = true
    this.#open.end()
    this.#open.isKept = false
    this.#open.folder = undefined
    // All is in its place and whole: what fails from here on, a power failure aside, changes nothing about it.
    await syncFolder(dirname(this.#part(0).path)).catch(() => undefined)
    // While there is a partial file there is a journal, which tells a later run whose it is.
    const isGone = await this.#removeLeftovers(paths).then(
      () => true,
      () => false,
    )
    await this.#journal.close(!isGone).catch(() => undefined)
    this.#open.leave()
  }

  /** Closes and removes the partial files, unless they are done or to be gone on with. No write may be under way. */
  async discard(): Promise<void> {
    if (this.#isDone) return
    this.#isDone = true
    this.#open.end()
    try {
      await abandon(this.#journal, this.#parts, this.#open.places, this.#open.isKept)
    } finally {
      await leave(this.#open)
    }
  }

  #part(file: number): Part {
    const part = this.#parts[file]
    if (!part) throw new Error(`an output of ${this.#parts.length} files has no file ${file}`)
    return part
  }

  /** Last of all but the header, and by what stands there now: it may have been made private in the meantime. */
  async #permit({ path, partial }: Part): Promise<void> {
    const replaced = this.#options.overwrite ? await statOrUndefined(path) : undefined
    if (replaced) await permitAs(replaced, partial)
    // The lock is a file as this process makes any.
    else await permitNew(partial, await this.#journal.lock.file.stat(), this.#options.origin?.mode)
  }

  async #takePlace(checkWanted: () => void): Promise<Paths> {
    const { overwrite } = this.#options
    const names = this.#parts.map(({ name }) => name)
    const files = this.#parts.map(({ path }) => path)
    const stale = await stalePlaces(this.place, names, this.#options)
    for (const path of files) await checkPlace(path, overwrite)
    const [only] = files.length === 1 && stale.length === 0 ? files : []
    const paths = { files, stale: stale.map(({ path }) => path) }
    if (only === undefined) {
      await this.#journal.startPlacing({ files: names, stale: stale.map(({ name }) => name) })
      checkWanted()
      // Where it is broken off only a later run can tell what is what.
      this.#open.isKept = true
      await placeFiles(paths, () => (this.#open.isKept = isKept(this.#options)))
      return paths
    }
    checkWanted()
    if (overwrite) await fs.rename(partialPath(only), only)
    else await putInPlace(only)
    return paths
  }

  async #removeLeftovers(paths: Paths): Promise<void> {
    if (paths.files.length + paths.stale.length > 1) await removeReplaced(paths)
    for (const path of paths.files) await fs.remove(partialPath(path))
  }
}

/** Whether a later run goes on with what a failed one leaves. */
function isKept({ resume, job }: OutputOptions): boolean {
  return resume === true && job !== undefined
}

/** Whether it was not there. */
async function makeFolder(path: string): Promise<boolean> {
  try {
    await fs.mkdir(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Lets others have the output; a folder that was made for it goes, unless somebody has put something into it. */
async function leave(open: OpenOutput): Promise<void> {
  try {
    if (open.folder !== undefined && !open.isKept) await fs.rmdir(open.folder).catch(() => undefined)
  } finally {
    open.leave()
  }
}

/**
 * Gives a locked output up: removes its partial files, or with `keep` leaves them. The journal stays where a partial
 * file does, also where it cannot be removed: a later run removes both.
 */
async function abandon(
  journal: Journal,
  parts: readonly Part[],
  places: readonly string[],
  keep: boolean,
): Promise<void> {
  let isLeft = true
  try {
    await closeParts(parts)
  } finally {
    try {
      if (!keep && (await holdsLock(journal.lock))) {
        // Without files of its own it has none to remove.
        for (const path of parts.length > 0 ? places : []) {
          await fs.remove(partialPath(path))
          await fs.remove(movedPath(path))
        }
        isLeft = false
      }
    } finally {
      await journal.close(isLeft)
    }
  }
}
