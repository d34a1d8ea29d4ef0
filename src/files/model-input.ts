/** What a model is opened from, on this machine: a file or a folder, and the files beside it. */
import { basename, dirname, join } from 'node:path'
import fs from 'fs-extra'
import { checkFileName, type ModelInput } from '../formats/format.js'
import type { ByteSource } from '../model/byte-source.js'
import { RemoteAddress } from '../remote/address.js'
import { checkSource, closeUnused, isFolder, openSource } from './open-source.js'
import { isFilePath, type FilePath } from './path.js'

/**
 * Opens a path, a URL or a ByteSource; a folder is taken as it is, and read when it is asked for its files.
 * @param wrap puts a source of the caller's own before each that is opened
 * @throws AprError `APR_BAD_OPTION` for anything else; the file system's own errors
 */
export async function openModelInput(
  input: string | URL | FilePath | RemoteAddress | ByteSource,
  wrap: (source: ByteSource) => ByteSource = (source) => source,
): Promise<ModelInput> {
  const source = checkSource(input)
  if (source instanceof RemoteAddress) {
    return await (await import(/* webpackMode: "eager" */ '../remote/remote-input.js')).openRemoteInput(source, wrap)
  }
  if (!isFilePath(source)) return new OpenedInput(source.name, undefined, wrap(source), '')
  if (await isFolder(source)) {
    const folder = { given: source.given, absolute: await named(source.absolute) }
    return new OpenedInput(source.given, folder, undefined, '', wrap)
  }
  // Where it stands, not where a link leads: a cache of Hugging Face holds folders of links to files without names.
  const folder = { given: dirname(source.given), absolute: await named(dirname(source.absolute)) }
  return new OpenedInput(source.given, folder, wrap(await openSource(source)), basename(source.absolute), wrap)
}

/** A folder by a path that ends in its name: `.` and `..` are none. */
async function named(folder: string): Promise<string> {
  return ['.', '..'].includes(basename(folder)) ? await fs.realpath(folder) : folder
}

class OpenedInput implements ModelInput {
  readonly name: string
  readonly file: ByteSource | undefined
  readonly fileName: string
  readonly folderName: string
  readonly #folder: FilePath | undefined
  readonly #wrap: (source: ByteSource) => ByteSource
  readonly #sources: ByteSource[] = []
  #isClosed = false

  constructor(
    name: string,
    folder: FilePath | undefined,
    file: ByteSource | undefined,
    fileName: string,
    wrap: (source: ByteSource) => ByteSource = (source) => source,
  ) {
    this.name = name
    this.file = file
    this.fileName = fileName
    this.folderName = folder ? basename(folder.absolute) : ''
    this.#folder = folder
    this.#wrap = wrap
    if (file) this.#sources.push(file)
  }

  async list(inside = ''): Promise<readonly string[]> {
    if (!this.#folder) return []
    const names = fs.readdir(join(this.#folder.absolute, inside))
    return await (inside === '' ? names : names.catch(noNames))
  }

  async open(fileName: string, inside = ''): Promise<ByteSource | undefined> {
    checkFileName(fileName, this.name)
    if (!this.#folder) return undefined
    const [given = '', absolute = ''] = [this.#folder.given, this.#folder.absolute].map((folder) =>
      join(folder, inside, fileName),
    )
    const path = { given, absolute }
    const isThere = await fs.stat(path.absolute).then((stats) => !stats.isDirectory(), isNotThere)
    if (!isThere) return undefined
    const source = this.#wrap(await openSource(path))
    this.#sources.push(source)
    if (this.#isClosed) await closeUnused(source)
    return source
  }

  async checkUnchanged(): Promise<void> {
    for (const source of this.#sources) await source.checkUnchanged?.()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const closed = await Promise.allSettled(this.#sources.map((source) => source.close()))
    const failed = closed.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }
}

function noNames(error: unknown): string[] {
  if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
  throw error
}

function isNotThere(error: unknown): false {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
  throw error
}
