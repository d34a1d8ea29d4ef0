/**
 * The outputs that are open in this process: a job that wants one that is just being given up waits for that, and a
 * process that exits leaves nothing of them.
 */
import fs from 'fs-extra'
import { checkNotAborted } from '../../../model/errors.js'
import { busy, type Lock } from './lock.js'
import { movedPath, partialPath } from '../output-place.js'

const outputs = new Map<string, OpenOutput>()

export class OpenOutput {
  /** What there is of it already. */
  lock: Lock | undefined
  partial: 'none' | 'opening' | 'open' = 'none'
  /** Where its files will stand. */
  places: readonly string[] = []
  /** The folder that was made for it, and goes with it. */
  folder: string | undefined
  /** Whether a later run goes on with it. */
  isKept = false
  readonly #path: string
  readonly #signal: AbortSignal | undefined
  readonly #gone: Promise<void>
  #isEnding = false
  #resolveGone: () => void = () => undefined

  private constructor(path: string, signal: AbortSignal | undefined) {
    this.#path = path
    this.#signal = signal
    this.#gone = new Promise((resolve) => (this.#resolveGone = resolve))
  }

  /**
   * Waits until no other job of this process has this output, if the one that has it is about to give it up.
   * @param signal aborted when the new one is
   * @throws AprError `APR_BUSY` when the other one goes on; the signal's reason
   */
  static async enter(path: string, signal: AbortSignal | undefined): Promise<OpenOutput> {
    for (let other = outputs.get(path); other; other = outputs.get(path)) {
      if (!other.#isEnding && other.#signal?.aborted !== true) throw busy(path, 'another job of this process is')
      await other.#gone
    }
    checkNotAborted(signal)
    const output = new OpenOutput(path, signal)
    if (outputs.size === 0) process.on('exit', removeAll)
    outputs.set(path, output)
    return output
  }

  /** Says that the output will soon be given up, whole or not at all. */
  end(): void {
    this.#isEnding = true
  }

  /** Nothing is left of it but what is in its place, or kept. */
  leave(): void {
    outputs.delete(this.#path)
    if (outputs.size === 0) process.off('exit', removeAll)
    this.#resolveGone()
  }

  /** As it is given up, but at once: a process that exits waits for nothing. */
  removeNow(): void {
    const { lock, partial, places, isKept } = this
    const descriptor = lock?.file.descriptor
    if (lock === undefined || descriptor === undefined || isKept) return
    // As long as it is not open the partial file may be nobody's of ours, or an earlier run's.
    if (partial === 'opening' || (partial === 'none' && lock.inherited !== undefined)) return
    try {
      const mine = fs.fstatSync(descriptor, { bigint: true })
      const there = fs.statSync(lock.path, { bigint: true })
      if (there.ino !== mine.ino || there.dev !== mine.dev) return
      // The lock last: it tells a later run whose the others are.
      const paths = partial === 'open' ? places.flatMap((path) => [partialPath(path), movedPath(path)]) : []
      for (const path of [...paths, lock.path]) fs.removeSync(path)
      if (this.folder !== undefined) fs.rmdirSync(this.folder)
    } catch {
      // A later run removes the rest.
    }
  }
}

function removeAll(): void {
  for (const output of outputs.values()) output.removeNow()
}
