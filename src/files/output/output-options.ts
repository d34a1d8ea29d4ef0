/** What an output is asked for. */
import type { FileIdentity } from '../../model/model.js'

export interface OutputOptions {
  /** Replace an existing file. */
  readonly overwrite: boolean
  /** Names the job: all that must be the same for another run to go on with its partial file. */
  readonly job?: string | undefined
  /** Go on from the partial file of an earlier run of the same job, and keep it when this run fails. */
  readonly resume?: boolean | undefined
  /**
   * Whether a file of this name in the output's folder would be taken for a part of it. What is no part goes as the
   * output takes its place; without `overwrite` it is refused.
   */
  readonly isPart?: ((name: string) => boolean) | undefined
  /** The input: an output that is the same file is refused, and a new one is for no more eyes. */
  readonly origin?: FileIdentity | undefined
  /**
   * Aborted when the output will be discarded: another job of this process then waits for that. It ends the proof of
   * what an earlier run has left, which reads all of it.
   */
  readonly signal?: AbortSignal | undefined
  /** Told how far that proof is. */
  readonly onCheck?: ((done: PhaseProgress) => void) | undefined
}

/** How far a phase of a job is. Within a phase, bytes and tensors never become fewer. */
export interface PhaseProgress {
  /** Bytes of tensor data that are done, and in all. */
  readonly bytes: number
  readonly totalBytes: number
  /** Tensors that are done in full, and in all. */
  readonly tensors: number
  readonly totalTensors: number
  /** The tensor that was worked on last. */
  readonly tensor: string
}
