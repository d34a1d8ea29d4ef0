/**
 * How several files take the place of others as one. There is no such step in a file system, so what is to be replaced
 * is set aside first, beginning with the file by which the rest is found: from then on there is no whole output, until
 * that file comes, last of all. Where it does not come all is undone, by this run or, if it was killed, by the next.
 */
import { dirname } from 'node:path'
import fs from 'fs-extra'
import { exists, partialPath, replacedPath, statOrUndefined, syncFolder } from './output-place.js'

/** Paths, links resolved. */
export interface Paths {
  /** Of the files that take their places; the first is the one by which the others are found. */
  readonly files: readonly string[]
  /** Of files that go and are not replaced. */
  readonly stale: readonly string[]
}

/** How file systems without hard links say so. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']

/**
 * Gives a partial file its place, where nothing stands. Unlike a rename, a link never replaces a file that came in the
 * meantime. Not every file system has links.
 * @param partial the file, which may stay under this name as well
 * @throws AprError `APR_EXISTS`
 */
export async function putInPlace(path: string, partial = partialPath(path)): Promise<void> {
  try {
    await fs.link(partial, path)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw exists(path)
    if (!NO_LINKS.includes(code)) throw error
    await fs.rename(partial, path)
  }
}

/**
 * Puts all files in their places, or fails and leaves what was there.
 * @param undone called where it fails, and all is as it was
 * @throws AprError `APR_EXISTS` where a file came meanwhile; the file system's own errors
 */
export async function placeFiles(paths: Paths, undone: () => void): Promise<void> {
  const [first = '', ...others] = paths.files
  const placed = new Set<string>()
  try {
    for (const path of [...paths.files, ...paths.stale]) {
      if (await statOrUndefined(path)) await fs.rename(path, replacedPath(path))
    }
    for (const path of [...others, first]) {
      // When the power fails, the file by which they are found must not be there without them.
      if (path === first) await syncFolder(dirname(first))
      await putInPlace(path)
      placed.add(path)
    }
  } catch (error) {
    const isOurs = (path: string): Promise<boolean> => Promise.resolve(placed.has(path))
    await undoPlacing(paths, isOurs).then(undone, () => undefined)
    throw error
  }
}

/** Removes what was set aside, when all files are in their places. */
export async function removeReplaced({ files, stale }: Paths): Promise<void> {
  for (const path of [...files, ...stale]) await fs.remove(replacedPath(path))
}

/** Ends what a run that was killed has begun: forwards where its first file was in place, else backwards. */
export async function recoverPlacing(paths: Paths): Promise<void> {
  const [first = ''] = paths.files
  if (await isPlaced(first)) await removeReplaced(paths)
  else await undoPlacing(paths, isPlaced)
}

/** Takes back what was placed, and restores what was set aside. May be broken off and done again. */
async function undoPlacing({ files, stale }: Paths, isOurs: (path: string) => Promise<boolean>): Promise<void> {
  for (const path of files) {
    if (!(await isOurs(path))) continue
    // Where there are no links, its partial file has become it.
    if (await statOrUndefined(partialPath(path))) await fs.remove(path)
    else await fs.rename(path, partialPath(path))
  }
  // The first last: as long as it is not there nobody finds the others.
  for (const path of [...files, ...stale].reverse()) {
    if (await statOrUndefined(replacedPath(path))) await fs.rename(replacedPath(path), path)
  }
}

/** A file that was placed is its partial file's other name, or its partial file is gone. */
async function isPlaced(path: string): Promise<boolean> {
  const place = await statOrUndefined(path)
  if (!place) return false
  const partial = await statOrUndefined(partialPath(path))
  return !partial || (partial.dev === place.dev && partial.ino === place.ino)
}
