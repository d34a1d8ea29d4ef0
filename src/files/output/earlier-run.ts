/** What an earlier run has left of an output: whether it can be gone on with, and if not, why. */
import fs from 'fs-extra'
import { crc32 } from '../../checksum/crc32.js'
import { AprError, checkNotAborted } from '../../model/errors.js'
import type { JournalEntry, Notes } from './journal.js'
import type { OutputOptions } from './output-options.js'
import { filePath, movedPath, partialPath, replacedPath, statOrUndefined, type OutputPlace } from './output-place.js'
import { closeParts, type Part, type Place } from './part.js'
import { PRIVATE_MODE } from './permissions.js'
import { CHUNK_BYTES, PositionedFile } from '../positioned-file.js'

/** What a run starts from. */
export interface Start {
  readonly parts: readonly Part[]
  readonly entries: readonly JournalEntry[]
  readonly restartReason: string | undefined
  /** Whether the partial files are an earlier run's. */
  readonly isResumed: boolean
}

/**
 * Opens the partial files: those of an earlier run of the same job where it can be gone on with, else new ones.
 * @param announce called before there are new ones
 * @throws AprError `APR_EXISTS` for partial files that are none of this package's
 */
export async function openParts(
  output: OutputPlace,
  places: readonly Place[],
  earlier: Notes | undefined,
  options: OutputOptions,
  announce: () => Promise<void>,
): Promise<Start> {
  let restartReason: string | undefined
  if (earlier && options.resume) {
    const found = await proveParts(places, earlier, options)
    if (typeof found !== 'string') return { ...found, restartReason: undefined, isResumed: true }
    restartReason = found
  }
  if (earlier) await removePartials(output, earlier)
  if (places.length > 1) await refuseForeign(places)
  await announce()
  return { parts: await openNew(places), entries: [], restartReason, isResumed: false }
}

/** Removes the partial files of an earlier run. */
async function removePartials(output: OutputPlace, { files }: Notes): Promise<void> {
  for (const name of new Set([output.name, ...files])) {
    const path = await filePath(output, name)
    await fs.remove(partialPath(path))
    await fs.remove(movedPath(path))
  }
}

/** @throws AprError `APR_EXISTS` for partial files that no journal tells of, before any is noted as ours */
export async function refuseForeign(places: readonly Place[]): Promise<void> {
  for (const { path } of places) {
    for (const beside of [partialPath(path), replacedPath(path)]) {
      if (await statOrUndefined(beside)) throw foreign(beside)
    }
  }
}

function foreign(file: string): AprError {
  return new AprError(
    'APR_EXISTS',
    'expected no partial file at the output, found one that no run of this package has left (it has no journal); move it away',
    { file },
  )
}

async function openNew(places: readonly Place[]): Promise<Part[]> {
  const parts: Part[] = []
  try {
    for (const place of places) {
      const file = partialPath(place.path)
      const partial = await PositionedFile.open(file, 'wx+', PRIVATE_MODE).catch((error: unknown) => {
        throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? foreign(file) : error
      })
      parts.push({ ...place, partial })
    }
    return parts
  } catch (error) {
    await closeParts(parts).catch(() => undefined)
    for (const { path } of parts) await fs.remove(partialPath(path)).catch(() => undefined)
    throw error
  }
}

/** Opens the partial files and reads every noted tensor back. Returns why that cannot be gone on with, where so. */
async function proveParts(
  places: readonly Place[],
  { job, files, entries }: Notes,
  options: OutputOptions,
): Promise<Pick<Start, 'parts' | 'entries'> | string> {
  if (options.job === undefined || job === undefined) return 'the partial file cannot be told to be of the same job'
  const names = places.map(({ name }) => name)
  const isSame = names.length > 1 ? names.join('/') === files.join('/') : files.length === 0
  if (job !== options.job || !isSame) return 'the input, the options or the version are not those of the partial file'
  for (const { path } of places) {
    const found = await statOrUndefined(partialPath(path))
    if (!found?.isFile()) return 'the partial file is gone'
    // A process that was killed right after it had put its output in place: what is there must not be written to.
    if (found.nlink > 1n) return 'the partial file is another name of a finished one'
  }
  const parts: Part[] = []
  try {
    for (const place of places) {
      parts.push({ ...place, partial: await PositionedFile.open(partialPath(place.path), 'r+') })
    }
    const damaged = await findDamaged(parts, entries, options)
    if (damaged === undefined) return { parts, entries }
    await closeParts(parts)
    return `the partial file is damaged in tensor ${damaged.name}`
  } catch (error) {
    await closeParts(parts)
    throw error
  }
}

async function findDamaged(
  parts: readonly Part[],
  entries: readonly JournalEntry[],
  { signal, onCheck }: OutputOptions,
): Promise<JournalEntry | undefined> {
  const chunk = new Uint8Array(CHUNK_BYTES)
  const totalBytes = entries.reduce((sum, { size }) => sum + size, 0)
  let bytes = 0
  for (const [index, entry] of entries.entries()) {
    const partial = parts[entry.file ?? 0]?.partial
    if (!partial) return entry
    let found = 0
    for (let done = 0; done < entry.size; done += chunk.length) {
      checkNotAborted(signal)
      const part = chunk.subarray(0, Math.min(chunk.length, entry.size - done))
      found = crc32(part.subarray(0, await partial.read(part, entry.position + done)), found)
      bytes += part.length
      const tensors = done + part.length === entry.size ? index + 1 : index
      onCheck?.({ bytes, totalBytes, tensors, totalTensors: entries.length, tensor: entry.name })
    }
    if (found !== entry.crc) return entry
  }
  return undefined
}
