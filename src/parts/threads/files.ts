/** Files that a thread opens for itself, by the paths that others have opened them by. */
import { fstatSync, openSync, writeSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import type { ByteSource } from '../../model/byte-source.js'
import { AprError, locateSystemError } from '../../model/errors.js'
import type { OpenedElsewhere, ThreadSetup } from './task.js'

/** Bytes that are gathered before they are written: below it a write costs more than the copy. */
const GATHERED_BYTES = 512 * 1024

/** A file that is open; of a model of many files each thread has few at a time. */
const MAX_OPEN_SOURCES = 16

/** Sources that are opened when they are read, the least used closed when there are many. */
export function openSources(files: ThreadSetup['sources']): ByteSource[] {
  /** The last used last. */
  const opened = new Map<number, { readonly handle: Promise<FileHandle>; reads: number }>()
  const closeOne = (): void => {
    if (opened.size < MAX_OPEN_SOURCES) return
    for (const [file, { handle, reads }] of opened) {
      if (reads > 0) continue
      opened.delete(file)
      void handle.then((found) => found.close()).catch(() => undefined)
      return
    }
  }
  return files.map((file, i): ByteSource => {
    const { name, size } = file
    return {
      name,
      size,
      async read(target, position) {
        let found = opened.get(i)
        opened.delete(i)
        if (!found) closeOne()
        found ??= { handle: openFile(file), reads: 0 }
        opened.set(i, found)
        found.reads++
        try {
          await readAll(await found.handle, target, position, file)
        } finally {
          found.reads--
        }
      },
      close: () => Promise.resolve(),
    }
  })
}

async function openFile(file: OpenedElsewhere): Promise<FileHandle> {
  const handle = await open(file.path, 'r').catch((error: unknown) => {
    throw named(error, file)
  })
  const { dev, ino } = await handle.stat({ bigint: true })
  if (dev === file.device && ino === file.inode) return handle
  await handle.close()
  throw changed(file, 'the same file', 'another one in its place')
}

async function readAll(handle: FileHandle, target: Uint8Array, position: number, file: OpenedElsewhere): Promise<void> {
  for (let done = 0; done < target.length;) {
    const at = position + done
    const { bytesRead } = await handle.read(target, done, target.length - done, at).catch((error: unknown) => {
      throw locateSystemError(error, file.name, at)
    })
    if (bytesRead === 0) throw changed(file, 'a longer file', `its end at byte ${at}`)
    done += bytesRead
  }
}

function changed({ name }: OpenedElsewhere, expected: string, found: string): AprError {
  const what = `the input changed while it was read: expected ${expected}, found ${found}`
  return new AprError('APR_TRUNCATED', what, { file: name })
}

/** The system's errors name the path that it was asked for: they are to name the one that was given. */
function named(error: unknown, { name, path }: OpenedElsewhere): unknown {
  if (!(error instanceof Error)) return error
  error.message = error.message.replace(path, () => name)
  return Object.assign(error, { path: name })
}

/** Writes to the output's files, small things that stand side by side at once. */
export class OutputWriter {
  readonly #files: readonly OpenedElsewhere[]
  readonly #descriptors: (number | undefined)[] = []
  readonly #gathered = new Uint8Array(GATHERED_BYTES)
  #file = 0
  #start = 0
  #bytes = 0
  /** Bytes behind what was gathered that are zeros, and nobody else's. */
  #zeros = 0

  constructor(files: readonly OpenedElsewhere[]) {
    this.#files = files
  }

  /** @param zeros behind the bytes that may be written with them */
  put(bytes: Uint8Array, file: number, position: number, zeros: number): void {
    const gap = position - this.#start - this.#bytes
    const isBehind = file === this.#file && this.#bytes > 0 && gap >= 0 && gap <= this.#zeros
    if (!isBehind || this.#bytes + gap + bytes.length > GATHERED_BYTES) {
      this.flush()
      this.#file = file
      this.#start = position
    } else {
      this.#gathered.fill(0, this.#bytes, this.#bytes + gap)
      this.#bytes += gap
    }
    this.#zeros = zeros
    if (bytes.length > GATHERED_BYTES / 2) {
      this.flush()
      this.#write(bytes, file, position)
      return
    }
    this.#gathered.set(bytes, this.#bytes)
    this.#bytes += bytes.length
  }

  flush(): void {
    if (this.#bytes > 0) this.#write(this.#gathered.subarray(0, this.#bytes), this.#file, this.#start)
    this.#start += this.#bytes
    this.#bytes = 0
  }

  #write(bytes: Uint8Array, file: number, position: number): void {
    const { path } = this.#files[file] ?? { path: '' }
    const descriptor = this.#open(file)
    for (let done = 0; done < bytes.length;) {
      try {
        const written = writeSync(descriptor, bytes, done, bytes.length - done, position + done)
        if (written === 0) throw Object.assign(new Error('ENOSPC: nothing was written'), { code: 'ENOSPC' })
        done += written
      } catch (error) {
        throw locateSystemError(error, path, position)
      }
    }
  }

  #open(file: number): number {
    const found = this.#descriptors[file]
    if (found !== undefined) return found
    const place = this.#files[file]
    if (!place) throw new Error(`an output of ${this.#files.length} files has no file ${file}`)
    const descriptor = openSync(place.path, 'r+')
    const { dev, ino } = fstatSync(descriptor, { bigint: true })
    if (dev !== place.device || ino !== place.inode) {
      const what = 'expected the partial file that this job has made, found another one in its place'
      throw new AprError('APR_BUSY', what, { file: place.path })
    }
    return (this.#descriptors[file] = descriptor)
  }
}
