/** What a writer needs of an output, wherever it is. */
import type { JournalEntry } from './journal.js'
import type { FileNames } from './output-files.js'
import type { OutputPlace } from './output-place.js'
import type { Ending } from './part.js'
import type { Move } from './rearrange.js'

/** An output that appears whole or not at all. */
export interface ModelOutput {
  readonly place: OutputPlace
  /** What an earlier run has left, proven. */
  readonly resumed: ReadonlyMap<string, JournalEntry>
  /** Why nothing could be gone on with, where `resume` was asked for and something was there. */
  readonly restartReason: string | undefined
  /** Whether all is in its place: from then on nothing can be taken back. */
  readonly isInPlace: boolean
  /** Takes a tensor of an earlier run as not written. */
  forget(name: string): void
  /** Whether these are its files. */
  hasFiles(files: FileNames): boolean
  /** Writes all of `bytes` at a position of a file. */
  write(bytes: Uint8Array, file: number, position: number): Promise<void>
  /** Notes that a tensor is written in full. */
  note(entry: JournalEntry): Promise<void>
  /**
   * Moves runs of bytes: the files afterwards are those of `files`, hold these and nothing else. No write may be under way.
   * @throws AprError `APR_BAD_RECORD` where what was written cannot be moved
   */
  rearrange(files: FileNames, moves: Iterable<Move>): Promise<void>
  /**
   * Ends the files and puts them in their places.
   * @param ending what a file lacks; asked for one after the other
   * @param checkWanted throws where the output is no longer wanted; called last, before anything takes its place
   */
  commit(ending: (file: number) => Promise<Ending>, checkWanted?: () => void): Promise<void>
  /** Removes what was written, unless it is done or to be gone on with. No write may be under way. */
  discard(): Promise<void>
}
