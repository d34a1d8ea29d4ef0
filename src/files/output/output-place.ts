/** Where an output stands, and what stands beside it while it is written. */
import type { BigIntStats } from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import fs from 'fs-extra'
import { AprError } from '../../model/errors.js'
import { checkRegularFile, isDirectoryError } from '../open-source.js'
import { absolutePath } from '../path.js'
import type { LayoutOptions } from '../../formats/format.js'
import type { FileIdentity } from '../../model/model.js'
import { fileNameOf, remoteAddress } from '../../remote/address.js'
import { s3Place, type S3Place } from '../../remote/s3/place.js'
import { PositionedFile } from '../positioned-file.js'

/** Where an output stands, links resolved, and how it is laid out there. */
export interface OutputPlace extends LayoutOptions {
  /** The one path that names it, of however many files it is: the lock stands beside it. */
  readonly path: string
  /** The folder that its files stand in. */
  readonly folder: string
  /** Whether the folder is still to be made. */
  readonly isNewFolder: boolean
  /** Of an output in object storage, which stands in no folder: which object it is. */
  readonly object?: S3Place
}

/**
 * An output's path as it is meant now, whatever folder the process works in later.
 * @param mayBeFolder whether the output may be a folder
 * @throws `EISDIR` for a path that can only be a folder's
 */
export function outputPath(path: string, mayBeFolder = false): string {
  if (remoteAddress(path)) return path
  if (!mayBeFolder && isFoldersOnly(path)) throw isDirectoryError(path)
  return absolutePath(path)
}

/** Whether a path can only be a folder's. */
function isFoldersOnly(path: string): boolean {
  const end = path.split(sep === '\\' ? /[\\/]/ : '/').at(-1) ?? ''
  return ['', '.', '..'].includes(end)
}

/**
 * Where an output stands that is asked for by a path. Touches nothing.
 * @param path an absolute one
 * @param nameInFolder of the output where it is a folder; undefined where it cannot be one
 * @param maxFileBytes of each of its files
 * @throws `EISDIR` for a path that can only be a folder's, where it cannot be one; and as `followLink`
 */
export async function findPlace(path: string, nameInFolder?: string, maxFileBytes?: number): Promise<OutputPlace> {
  if (remoteAddress(path)) return objectPlace(path, maxFileBytes)
  if (nameInFolder === undefined && isFoldersOnly(path)) throw isDirectoryError(path)
  const isThere = nameInFolder !== undefined && (await statOrUndefined(path).catch(() => undefined))?.isDirectory()
  if (nameInFolder === undefined || (isThere !== true && !isFoldersOnly(path))) {
    const target = await followLink(path)
    const [folder, name] = [dirname(target), basename(target)]
    return { path: target, folder, name, isFolder: false, isNewFolder: false, maxFileBytes }
  }
  const inside = (folder: string): string => `${folder}${sep}${nameInFolder}`
  if (isThere === true) {
    const folder = await fs.realpath(path)
    const target = await followLink(inside(folder))
    return { path: target, folder, name: nameInFolder, isFolder: true, isNewFolder: false, maxFileBytes }
  }
  // Of what is not there `..` means nothing.
  if (/(^|[\\/])\.\.?$/.test(path)) await realFolder(inside(path))
  const folder = await followLink(resolve(path))
  if (await statOrUndefined(folder)) throw folderError(Object.assign(new Error(), { code: 'ENOTDIR' }), inside(folder))
  return { path: inside(folder), folder, name: nameInFolder, isFolder: true, isNewFolder: true, maxFileBytes }
}

function objectPlace(url: string, maxFileBytes: number | undefined): OutputPlace {
  const object = s3Place(url)
  const name = fileNameOf(url)
  return { path: url, folder: '', name, isFolder: false, isNewFolder: false, maxFileBytes, object }
}

/** The path of one of an output's files, links resolved. */
export async function filePath({ path, folder, name, isNewFolder }: OutputPlace, file: string): Promise<string> {
  if (file === name) return path
  return isNewFolder ? join(folder, file) : await followLink(join(folder, file))
}

export function partialPath(path: string): string {
  return `${path}.partial`
}

export function movedPath(path: string): string {
  return `${path}.moved.partial`
}

/** What is to be replaced, while the files of an output of several take their places. */
export function replacedPath(path: string): string {
  return `${path}.replaced.partial`
}

export function journalPath(path: string): string {
  return `${path}.partial.journal`
}

export async function checkPlace(path: string, overwrite: boolean): Promise<void> {
  const place = await statOrUndefined(path)
  if (place === undefined) return
  checkRegularFile(place, path)
  if (!overwrite) throw exists(path)
}

export function exists(path: string): AprError {
  return new AprError('APR_EXISTS', 'expected no file at the output, found one; `overwrite` replaces it', {
    file: path,
  })
}

/** Also a partial file's place must not be the input's: it would be replaced before it was read. */
export async function refuseSameFile(path: string, origin: FileIdentity | undefined): Promise<void> {
  if (!origin) return
  const inputs = [origin, ...(origin.others ?? [])]
  for (const file of [path, partialPath(path), movedPath(path), journalPath(path)]) {
    const place = await statOrUndefined(file)
    if (inputs.some(({ device, inode }) => place?.dev === device && place.ino === inode)) {
      throw new AprError('APR_SAME_FILE', 'expected an output that is not the input, found the same file', { file })
    }
  }
}

export async function statOrUndefined(path: string): Promise<BigIntStats | undefined> {
  try {
    return await fs.stat(path, { bigint: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * A link at the output's place stays, and the file it leads to is the output.
 * @param path an absolute one
 * @throws AprError `APR_EXISTS` for a link that leads nowhere: the file could not take its place in the end
 * @throws `ENOENT` or `ENOTDIR` where there is no folder for it
 */
export async function followLink(path: string): Promise<string> {
  try {
    return await fs.realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw folderError(error, path)
  }
  const place = join(await realFolder(path), basename(path))
  if (await isLink(place)) {
    throw new AprError(
      'APR_EXISTS',
      'expected no file at the output, found a link that leads nowhere; remove it, or make what it leads to',
      { file: path },
    )
  }
  return place
}

async function realFolder(path: string): Promise<string> {
  try {
    return await fs.realpath(dirname(path))
  } catch (error) {
    throw folderError(error, path)
  }
}

/** The system does not say that it is the folder that is missing. */
function folderError(error: unknown, path: string): unknown {
  const { code = '' } = error as NodeJS.ErrnoException
  const found = { ENOENT: 'none', ENOTDIR: 'a file in its place' }[code]
  if (found === undefined) return error
  const folder = dirname(path)
  const message = `${code}: expected an existing folder for the output, found ${found}, '${folder}'`
  return Object.assign(new Error(message, { cause: error }), { code, path: folder })
}

async function isLink(path: string): Promise<boolean> {
  try {
    return (await fs.lstat(path)).isSymbolicLink()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** Makes a rename last through a power failure. Windows has no such call and needs none. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const folder = await PositionedFile.open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
