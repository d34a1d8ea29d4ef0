/** One of the files that make up an output. */
import { PositionedFile } from '../positioned-file.js'

/** A file of the output, before anything is there of it. */
export interface Place {
  readonly name: string
  /** Where it will stand, links resolved. */
  readonly path: string
}

/** A file of the output whose partial file is open. */
export interface Part extends Place {
  readonly partial: PositionedFile
}

/** What a partial file lacks when all tensors are in it. */
export interface Ending {
  readonly head: Uint8Array
  /** So many of the head's bytes are written last. */
  readonly sealBytes: number
  readonly tail: Uint8Array
  readonly fileSize: number
}

/**
 * Ends a partial file and closes it. Without its first bytes, which come last, nobody can take it for a whole one.
 * @param permit gives it its permissions
 */
export async function finishPart({ partial }: Part, ending: Ending, permit: () => Promise<void>): Promise<void> {
  const { head, sealBytes, tail, fileSize } = ending
  await partial.resize(fileSize)
  await partial.write(tail, fileSize - tail.length)
  await partial.write(head.subarray(sealBytes), sealBytes)
  await permit()
  await partial.sync()
  if (sealBytes > 0) {
    await partial.write(head.subarray(0, sealBytes), 0)
    await partial.sync()
  }
  await partial.close()
}

/** Closes all of them; the first failure is told at the end. */
export async function closeParts(parts: readonly Part[]): Promise<void> {
  const closed = await Promise.allSettled(parts.map(({ partial }) => partial.close()))
  const failed = closed.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}
