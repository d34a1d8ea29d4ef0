/** An input whose reads a signal can end. */
import type { ByteSource } from '../model/byte-source.js'
import { abortError, checkNotAborted } from '../model/errors.js'

/**
 * The same source, whose reads fail with an `AbortError` as soon as the signal is aborted, also those that are under
 * way. The source itself is closed when these are done. Unless it is a local file, nobody waits for that then: a read that
 * hangs holds up nothing.
 */
export function abortableSource(source: ByteSource, signal: AbortSignal): ByteSource {
  /** Reads of the source that are under way, and how to fail who waits for them. */
  const reads = new Map<Promise<void>, (error: Error) => void>()
  const failReads = (): void => {
    for (const fail of reads.values()) fail(abortError(signal))
  }
  signal.addEventListener('abort', failReads, { once: true })
  const { name, size, version, identity } = source
  return {
    ...{ name, size, ...(version !== undefined && { version }), ...(identity && { identity }) },
    async read(target, position) {
      checkNotAborted(signal)
      const read = Promise.resolve(source.read(target, position))
      await new Promise<void>((done, fail) => {
        reads.set(read, fail)
        // Aborted in the call itself: nobody tells of it again.
        if (signal.aborted) failReads()
        void read.then(done, fail).finally(() => reads.delete(read))
      })
    },
    async checkUnchanged() {
      checkNotAborted(signal)
      await source.checkUnchanged?.()
      checkNotAborted(signal)
    },
    async close() {
      signal.removeEventListener('abort', failReads)
      const closed = Promise.allSettled(reads.keys()).then(() => source.close())
      // Reads of a local file end by themselves.
      if (reads.size === 0 || !signal.aborted || source.identity) await closed
      else closed.catch(() => undefined)
    },
  }
}
