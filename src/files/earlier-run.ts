/** What an earlier run has left of an output: whether it can be gone on with, and if not, why. */
import fs from 'fs-extra'
import { crc32 } from '../checksum/crc32.js'
import { AprError, checkNotAborted } from '../model/errors.js'
import { parseJournal, type JournalEntry } from './journal.js'
import type { OutputOptions } from './output-options.js'
import { CHUNK_BYTES, PositionedFile } from './positioned-file.js'
import { movedPath, partialPath, statOrUndefined } from './output-place.js'
import { PRIVATE_MODE } from './permissions.js'

/** What a run starts from. */
export interface Start {
  readonly partial: PositionedFile
  readonly entries: readonly JournalEntry[]
  readonly restartReason: string | undefined
}

/** Opens the partial file: that of an earlier run of the same job where it can be gone on with, else a new one. */
export async function openPartial(
  path: string,
  inherited: readonly string[] | undefined,
  options: OutputOptions,
): Promise<Start> {
  let restartReason: string | undefined
  if (inherited && options.resume) {
    const found = await proveEntries(path, inherited, options)
    if (typeof found !== 'string') return { ...found, restartReason: undefined }
    restartReason = found
  }
  if (inherited) {
    await fs.remove(partialPath(path))
    await fs.remove(movedPath(path))
  }
  try {
    return { partial: await PositionedFile.open(partialPath(path), 'wx+', PRIVATE_MODE), entries: [], restartReason }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new AprError(
      'APR_EXISTS',
      'expected no partial file at the output, found one that no run of this package has left (it has no journal); move it away',
      { file: partialPath(path) },
    )
  }
}

/** Opens the partial file and reads every noted tensor back. Returns why that cannot be gone on with, where so. */
async function proveEntries(
  path: string,
  inherited: readonly string[],
  options: OutputOptions,
): Promise<Pick<Start, 'partial' | 'entries'> | string> {
  const { job } = options
  const journal = parseJournal(inherited)
  if (job === undefined || journal.job === undefined) return 'the partial file cannot be told to be of the same job'
  if (journal.job !== job) return 'the input, the options or the version are not those of the partial file'
  const found = await statOrUndefined(partialPath(path))
  if (!found?.isFile()) return 'the partial file is gone'
  // A process that was killed right after it had put its output in place: what is there must not be written to.
  if (found.nlink > 1n) return 'the partial file is another name of a finished one'
  const partial = await PositionedFile.open(partialPath(path), 'r+')
  try {
    const damaged = await findDamaged(partial, journal.entries, options)
    if (damaged === undefined) return { partial, entries: journal.entries }
    await partial.close()
    return `the partial file is damaged in tensor ${damaged.name}`
  } catch (error) {
    await partial.close()
    throw error
  }
}

async function findDamaged(
  partial: PositionedFile,
  entries: readonly JournalEntry[],
  { signal, onCheck }: OutputOptions,
): Promise<JournalEntry | undefined> {
  const chunk = new Uint8Array(CHUNK_BYTES)
  const totalBytes = entries.reduce((sum, { size }) => sum + size, 0)
  let bytes = 0
  for (const [index, entry] of entries.entries()) {
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
