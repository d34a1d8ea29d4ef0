/** Where bytes come from: a local file, or anything else with random access. */
import type { FileIdentity } from './model.js'

/** Random access to one input of fixed size. Reads may overlap in time. */
export interface ByteSource {
  /** Path or URL, for messages. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** Changes whenever the content does, as an ETag; without it a job on this input cannot be resumed. */
  readonly version?: string
  /** Set where the input is a local file, so that it is never replaced by its own output. */
  readonly identity?: FileIdentity
  /** Fills all of `target` with the bytes at `position`, or fails. */
  read(target: Uint8Array, position: number): Promise<void>
  /** Fails when the input is no longer what it was when it was opened. Called once, after the last read. */
  checkUnchanged?(): Promise<void>
  /** Frees what the source holds. Called once, whatever happens, when no read is under way. */
  close(): Promise<void>
}
