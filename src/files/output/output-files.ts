/** Which files an output is made of, and which an earlier one has left. */
import fs from 'fs-extra'
import { AprError } from '../../model/errors.js'
import { parseJournal, type Placing } from './journal.js'
import type { OutputOptions } from './output-options.js'
import {
  filePath,
  journalPath,
  partialPath,
  refuseSameFile,
  statOrUndefined,
  type OutputPlace,
} from './output-place.js'
import type { Place } from './part.js'
import type { Paths } from './placing.js'

/** What an output is made of: the names of its files. The first is the one by which the others are found. */
export type FileNames = readonly { readonly name: string }[]

/**
 * Bytes on the disk that a new run would use again or free: those of an earlier run's partial files, which may be others
 * than its own, of an output that was cut another way.
 */
export async function partialBytes(place: OutputPlace, files: FileNames): Promise<number> {
  const names = new Set([...files.map(({ name }) => name), ...(await journaledFiles(place))])
  let bytes = 0
  for (const { path } of await placesOf(
    place,
    Array.from(names, (name) => ({ name })),
  )) {
    bytes += Number((await statOrUndefined(partialPath(path)))?.blocks ?? 0) * 512
  }
  return bytes
}

/** Files that an earlier run has noted, where it has left a journal. */
async function journaledFiles({ path }: OutputPlace): Promise<readonly string[]> {
  const journal = journalPath(path)
  const isThere = (await statOrUndefined(journal))?.isFile()
  const text = isThere ? await fs.readFile(journal, 'utf8') : ''
  // The first line says who holds the lock.
  return parseJournal(text.split('\n').slice(1)).files
}

export async function placesOf(place: OutputPlace, files: FileNames): Promise<Place[]> {
  const places: Place[] = []
  for (const { name } of files) places.push({ name, path: await filePath(place, name) })
  return places
}

export async function pathsOf(place: OutputPlace, { files, stale }: Placing): Promise<Paths> {
  const resolve = (names: readonly string[]): Promise<string[]> =>
    Promise.all(names.map((name) => filePath(place, name)))
  return { files: await resolve(files), stale: await resolve(stale) }
}

/**
 * What an earlier output has left that readers would take for a part of this one.
 * @throws AprError `APR_EXISTS` where it may not be replaced, `APR_SAME_FILE` where it is the input
 */
export async function stalePlaces(
  place: OutputPlace,
  names: readonly string[],
  { isPart, overwrite, origin }: OutputOptions,
): Promise<Place[]> {
  if (!isPart) return []
  const found = (await fs.readdir(place.folder)).filter((name) => isPart(name) && !names.includes(name)).sort()
  const stale = await placesOf(
    place,
    found.map((name) => ({ name })),
  )
  for (const { path } of stale) await refuseSameFile(path, origin)
  if (stale.length === 0 || overwrite) return stale
  const what = `expected no part of another output beside this one, found ${found.join(', ')}; \`overwrite\` removes it`
  throw new AprError('APR_EXISTS', what, { file: stale[0]?.path ?? place.path })
}
