/** Opens paths into byte sources; what is a source already is taken as it is. */
import fs from 'fs-extra'
import { AprError } from '../model/errors.js'
import { found, isUrl } from '../model/found.js'
import { remoteAddress, RemoteAddress } from '../remote/address.js'
import { setLocalFile } from './local-file.js'
import { fixPath, isFilePath, type FilePath } from './path.js'
import { PositionedFile } from './positioned-file.js'
import type { ByteSource } from '../model/byte-source.js'

/** A local file that is open. What opened it and gave it to nobody closes it: `await using` does. */
export interface OpenFile extends ByteSource {
  [Symbol.asyncDispose](): Promise<void>
}

/** Opens a path or a URL; a ByteSource is taken as it is. */
export async function openSource(input: string | URL | FilePath | ByteSource): Promise<ByteSource> {
  const source = checkSource(input)
  if (source instanceof RemoteAddress)
    return await (await import(/* webpackMode: "eager" */ '../remote/remote-input.js')).openRemoteSource(source)
  return isFilePath(source) ? await openPath(source) : source
}

/** Closes a source whose job is refused before it has begun. Why it is refused counts, not what closing says. */
export async function closeUnused(source: unknown): Promise<void> {
  try {
    await (source as Partial<ByteSource> | null | undefined)?.close?.()
  } catch {
    // As above.
  }
}

/**
 * Checks that something is a path, a URL or a ByteSource, and fixes what a path means; it is opened later.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkSource(source: unknown): FilePath | RemoteAddress | ByteSource {
  if (isFilePath(source) || source instanceof RemoteAddress || isByteSource(source)) return source
  const remote = remoteAddress(source)
  if (remote) return remote
  if (typeof source === 'string' || isUrl(source)) return fixPath('the input', source)
  throw new AprError(
    'APR_BAD_OPTION',
    `expected the input to be a path, a URL (file:, https:, hf:, s3:), or a ByteSource with name, size, read and close, found ${found(source)}`,
  )
}

export function isByteSource(source: unknown): source is ByteSource {
  const { name, size, read, close } = (source ?? {}) as Partial<ByteSource>
  return (
    typeof name === 'string' && Number.isSafeInteger(size) && typeof read === 'function' && typeof close === 'function'
  )
}

/**
 * Opens a local file.
 * @param input a path, or a `file:` URL
 * @throws AprError `APR_BAD_OPTION` for anything else
 * @throws the file system's own errors (`ENOENT`, `EACCES`, ...), `EISDIR` for a directory
 * @throws AprError `APR_UNSUPPORTED` for a pipe, socket or device
 */
export async function openFile(input: string | URL): Promise<OpenFile> {
  return await openPath(fixPath('the input', input))
}

/**
 * Whether a path is that of a folder.
 * @throws the file system's own errors
 */
export async function isFolder({ given, absolute }: FilePath): Promise<boolean> {
  try {
    return (await fs.stat(absolute)).isDirectory()
  } catch (error) {
    throw naming(given, error, absolute)
  }
}

async function openPath({ given: path, absolute }: FilePath): Promise<OpenFile> {
  const asGiven = (error: unknown): never => {
    throw naming(path, error, absolute)
  }
  // Looked at before it is opened: a pipe would wait for whoever writes to it, a device may do something.
  checkRegularFile(await fs.stat(absolute).catch(asGiven), path)
  const file = await PositionedFile.open(absolute, 'r').catch(asGiven)
  try {
    const opened = await file.stat()
    checkRegularFile(opened, path)
    const size = Number(opened.size)
    const source: OpenFile = {
      name: path,
      size,
      version: [opened.dev, opened.ino, opened.size, opened.mtimeNs].join(':'),
      identity: { device: opened.dev, inode: opened.ino, mode: Number(opened.mode) & 0o777 },
      async read(target, position) {
        const found = await file.read(target, position).catch(asGiven)
        if (found < target.length) {
          throw changed(path, `a file of ${size} bytes`, `its end at byte ${position + found}`)
        }
      },
      async checkUnchanged() {
        const now = await file.stat().catch(asGiven)
        if (now.size !== opened.size) throw changed(path, `${opened.size} bytes`, `${now.size} bytes`)
        if (now.mtimeNs !== opened.mtimeNs) throw changed(path, 'its time of change to stay', 'a newer one')
        const atPath = await fs.stat(absolute, { bigint: true }).catch(asGiven)
        if (atPath.ino !== opened.ino || atPath.dev !== opened.dev)
          throw changed(path, 'the same file', 'another one in its place')
      },
      close: () => file.close().catch(asGiven),
      [Symbol.asyncDispose]: () => file.close().catch(asGiven),
    }
    return setLocalFile(source, { path: absolute, version: `${opened.size}:${opened.mtimeNs}` })
  } catch (error) {
    await file.close()
    throw error
  }
}

/**
 * @throws `EISDIR` for a directory
 * @throws AprError `APR_UNSUPPORTED` for a pipe, socket or device
 */
export function checkRegularFile(stats: { isFile(): boolean; isDirectory(): boolean }, path: string): void {
  if (stats.isDirectory()) throw isDirectoryError(path)
  if (!stats.isFile()) {
    throw new AprError('APR_UNSUPPORTED', 'expected a regular file, found a pipe, socket or device', { file: path })
  }
}

function changed(path: string, expected: string, found: string): AprError {
  return new AprError('APR_TRUNCATED', `the input changed while it was read: expected ${expected}, found ${found}`, {
    file: path,
  })
}

export function isDirectoryError(path: string): Error {
  return Object.assign(new Error(`EISDIR: expected a file, found a directory, '${path}'`), { code: 'EISDIR', path })
}

/** An error of the system, which names the path that it was asked for, with the one that was given. */
export function naming(path: string, error: unknown, absolute: string): unknown {
  if (!(error instanceof Error) || (error as NodeJS.ErrnoException).path !== absolute) return error
  error.message = error.message.replace(absolute, () => path)
  return Object.assign(error, { path })
}
