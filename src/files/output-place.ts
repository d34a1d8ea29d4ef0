/** Where an output stands, and what stands beside it while it is written. */
import type { BigIntStats } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import fs from 'fs-extra'
import { AprError } from '../model/errors.js'
import { checkRegularFile } from './byte-source.js'
import type { FileIdentity } from '../model/tensor.js'
import { PositionedFile } from './positioned-file.js'

export function partialPath(path: string): string {
  return `${path}.partial`
}

export function movedPath(path: string): string {
  return `${path}.moved.partial`
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
  return new AprError('APR_EXISTS', 'expected no file at the output, found one; overwrite (--force) replaces it', {
    file: path,
  })
}

/** Also a partial file's place must not be the input's: it would be replaced before it was read. */
export async function refuseSameFile(path: string, { device, inode }: FileIdentity): Promise<void> {
  for (const file of [path, partialPath(path), movedPath(path), journalPath(path)]) {
    const place = await statOrUndefined(file)
    if (place?.dev === device && place.ino === inode) {
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
 * @throws AprError `APR_EXISTS` for a link that leads nowhere: the file could not take its place in the end
 */
export async function followLink(path: string): Promise<string> {
  try {
    return await fs.realpath(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const place = join(await fs.realpath(dirname(resolve(path))), basename(path))
  if (await isLink(place)) {
    throw new AprError(
      'APR_EXISTS',
      'expected no file at the output, found a link that leads nowhere; remove it, or make what it leads to',
      { file: path },
    )
  }
  return place
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
