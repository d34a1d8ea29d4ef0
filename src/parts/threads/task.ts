/** What threads that make parts of an output are told, and what they answer: plain data. */
import { AprError, type AprErrorCode, type ErrorPlace } from '../../model/errors.js'
import type { LostBlocks } from '../../quant/runs/run.js'
import type { SourceRun } from '../blocks.js'
import type { PartTensor } from '../part-tensor.js'

/** A file that threads open for themselves. */
export interface OpenedElsewhere {
  /** For messages. */
  readonly name: string
  readonly path: string
  /** Which file it is: another may stand at the path by now. */
  readonly device: bigint
  readonly inode: bigint
}

/** What is the same for all tasks of a job. */
export interface ThreadSetup {
  readonly kernel: WebAssembly.Module
  readonly sources: readonly (OpenedElsewhere & { readonly size: number })[]
  /** The output's files. */
  readonly outputs: readonly OpenedElsewhere[]
  readonly hasChecksum: boolean
  readonly recordBytes: number
}

/** Bytes of a tensor that are to be made, and where they go; or that are only to be read. */
export interface TaskRange {
  readonly part: PartTensor
  readonly start: number
  readonly end: number
  /** Where the tensor stands in the output, and bytes behind it that are zeros. */
  readonly place: { readonly file: number; readonly position: number; readonly padding: number } | undefined
  /** The rows of the importance matrix for these bytes, from that of a matrix on. */
  readonly importance?: { readonly first: number; readonly values: Float32Array }
}

export interface PartTask {
  readonly ranges: readonly TaskRange[]
}

export interface PartDone {
  /** The CRC-32 of each range's bytes. */
  readonly crcs: readonly number[]
  readonly sources: readonly SourceRun[]
  /** By the index of a range. */
  readonly lost: readonly (readonly [range: number, lost: LostBlocks])[]
}

export type PartAnswer = PartDone | { readonly error: SentError }

/** An error on its way between threads: structured clones lose its code. */
export interface SentError {
  readonly message: string
  readonly what?: string
  readonly code?: string | undefined
  readonly place?: ErrorPlace
  readonly fields?: Readonly<Record<string, unknown>>
}

export function sendError(error: unknown): SentError {
  if (error instanceof AprError) {
    const { message, what, code, file, tensor, element, value, offset } = error
    return { message, what, code, place: { file, tensor, element, value, offset } }
  }
  const { message, code, errno, syscall, path, offset } = error as NodeJS.ErrnoException & { offset?: number }
  return { message, code, fields: { errno, syscall, path, offset } }
}

export function receiveError({ message, what, code, place, fields = {} }: SentError): Error {
  if (what !== undefined) return new AprError(code as AprErrorCode, what, place)
  const known = Object.entries({ code, ...fields }).filter(([, value]) => value !== undefined)
  return Object.assign(new Error(message), Object.fromEntries(known))
}
