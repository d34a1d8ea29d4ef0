/** Moves what stands in partial files to other places, in files that may be others. */
import fs from 'fs-extra'
import { AprError } from '../../model/errors.js'
import { movedPath, partialPath } from './output-place.js'
import { closeParts, type Part, type Place } from './part.js'
import { PRIVATE_MODE } from './permissions.js'
import { CHUNK_BYTES, PositionedFile } from '../positioned-file.js'

/** A run of bytes: which file and where in it, before and after. */
export interface Move {
  readonly from: { readonly file: number; readonly position: number }
  readonly to: { readonly file: number; readonly position: number }
  readonly size: number
}

/**
 * Gives the partial files of `places`, which hold the moved runs and nothing else; those of `parts` are closed then.
 * @param checkOurs throws where the files have become another's
 */
export async function rearrangeParts(
  parts: readonly Part[],
  places: readonly Place[],
  moves: Iterable<Move>,
  checkOurs: () => Promise<void>,
): Promise<Part[]> {
  await checkOurs()
  const moved: Part[] = []
  const opened: Part[] = []
  try {
    for (const place of places) {
      moved.push({ ...place, partial: await PositionedFile.open(movedPath(place.path), 'wx+', PRIVATE_MODE) })
    }
    await copyRuns(parts, moved, moves)
    await closeParts(moved)
    await closeParts(parts)
    await checkOurs()
    const kept = new Set(places.map(({ path }) => path))
    for (const { path } of parts) if (!kept.has(path)) await fs.remove(partialPath(path))
    for (const { name, path } of places) {
      await fs.rename(movedPath(path), partialPath(path))
      opened.push({ name, path, partial: await PositionedFile.open(partialPath(path), 'r+') })
    }
    return opened
  } catch (error) {
    await closeParts([...moved, ...opened]).catch(() => undefined)
    throw error
  }
}

async function copyRuns(parts: readonly Part[], moved: readonly Part[], moves: Iterable<Move>): Promise<void> {
  const chunk = new Uint8Array(CHUNK_BYTES)
  for (const { from, to, size } of moves) {
    const [source, target] = [parts[from.file]?.partial, moved[to.file]?.partial]
    if (!source || !target) throw new Error('a run is moved between files that there are')
    for (let done = 0; done < size; done += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, size - done))
      const offset = from.position + done
      const found = await source.read(part, offset)
      if (found < part.length) {
        const what = `expected ${part.length} bytes that were written, found ${found}`
        throw new AprError('APR_TRUNCATED', what, { file: source.path, offset })
      }
      await target.write(part, to.position + done)
    }
  }
}
