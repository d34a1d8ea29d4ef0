/** An input whose reads a signal can end. */
import { localFileOf, setLocalFile } from '../../files/local-file.js'
import type { ByteSource } from '../../model/byte-source.js'
import { abortError, checkNotAborted } from '../../model/errors.js'

/**
 * Makes of each source the same one, whose reads fail with an `AbortError` as soon as the signal is aborted, also those that
 * are under way. The source itself is closed when these are done. Unless it is a local file, nobody waits for that then: a
 * read that hangs holds up nothing.
 *
 * The signal has one listener however many sources are open: Node warns of more than ten.
 */
export function abortableSources(signal: AbortSignal): (source: ByteSource) => ByteSource {
  /** For each source that is open, what fails its reads. */
  const open = new Set<() => void>()
  const failAll = (): void => open.forEach((failReads) => failReads())
  return (source) => {
    if (open.size === 0) signal.addEventListener('abort', failAll)
    return abortableSource(source, signal, open, () => {
      if (open.size === 0) signal.removeEventListener('abort', failAll)
    })
  }
}

function abortableSource(
  source: ByteSource,
  signal: AbortSignal,
  open: Set<() => void>,
  onClosed: () => void,
): ByteSource {
  /** Reads of the source that are under way, and how to fail who waits for them. */
  const reads = new Map<Promise<void>, (error: Error) => void>()
  const failReads = (): void => {
    for (const fail of reads.values()) fail(abortError(signal))
  }
  open.add(failReads)
  const { name, size, version, identity } = source
  const abortable: ByteSource = {
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
      open.delete(failReads)
      onClosed()
      const closed = Promise.allSettled(reads.keys()).then(() => source.close())
      // Reads of a local file end by themselves.
      if (reads.size === 0 || !signal.aborted || source.identity) await closed
      else closed.catch(() => undefined)
    },
  }
  return setLocalFile(abortable, localFileOf(source))
}
