/**
 * The journal of an output's partial files: which job they are of, and which tensors are in them, each with its place
 * and CRC-32. A later run of the same job proves them by reading them back, and goes on.
 */
import { basename } from 'node:path'
import { isFields } from '../../model/found.js'
import { publish } from '../diagnostics.js'
import { unlock, type Lock } from './lock/lock.js'
import { journalPath } from './output-place.js'

/** A tensor that is in the partial file in full. */
export interface JournalEntry {
  readonly name: string
  /** In which of the output's files: an index; left out for the first. */
  readonly file?: number
  /** Absolute offset and bytes in its partial file. */
  readonly position: number
  readonly size: number
  readonly crc: number
}

/** What takes its place, and what goes: names of files. */
export interface Placing {
  /** The first is the one by which the others are found. */
  readonly files: readonly string[]
  /** Of an earlier output, which this one does not replace by files of its own. */
  readonly stale: readonly string[]
}

/** What an earlier run has noted. */
export interface Notes {
  readonly job: string | undefined
  /** Names of the files that there may be partial files for; of one alone it is not noted. */
  readonly files: readonly string[]
  readonly entries: readonly JournalEntry[]
  /** Set where the run was broken off while its files took their places, or when they just had. */
  readonly placing: Placing | undefined
}

export class Journal {
  readonly lock: Lock
  #position: number
  #lines: string[] = []
  #writing: Promise<void> | undefined

  constructor(lock: Lock) {
    this.lock = lock
    publish({ type: 'output-locked', output: outputOf(lock) })
    this.#position = lock.size
  }

  /**
   * Starts anew.
   * @param files names of the output's files, where they are several
   * @param job what must be the same for another run to go on
   */
  async begin(files: readonly string[], job: string | undefined): Promise<void> {
    await this.lock.file.resize(this.lock.size)
    this.#position = this.lock.size
    await this.#start(files, job)
  }

  /** Goes on behind what an earlier run has written: the same job, and these tensors. */
  async goOn(files: readonly string[], job: string, entries: readonly JournalEntry[]): Promise<void> {
    await Promise.all([this.#start(files, job), ...entries.map((entry) => this.#append(entry))])
  }

  async #start(files: readonly string[], job: string | undefined): Promise<void> {
    await Promise.all([
      ...(files.length > 1 ? [this.addFiles(files)] : []),
      ...(job === undefined ? [] : [this.#append({ job })]),
    ])
  }

  /** Notes that there may be partial files for these, before there are. */
  async addFiles(files: readonly string[]): Promise<void> {
    await this.#append({ files })
  }

  /** Notes that the files are about to take their places, and makes that last. */
  async startPlacing(placing: Placing): Promise<void> {
    await this.#append({ placing })
    await this.lock.file.sync()
  }

  /** Notes a tensor whose bytes are all written. */
  add(entry: JournalEntry): Promise<void> {
    return this.#append(entry)
  }

  /** Waits for the notes, and gives the lock up; with `keep` the file stays for a later run. */
  async close(keep: boolean): Promise<void> {
    await this.#writing?.catch(() => undefined)
    await unlock(this.lock, keep).finally(() => publish({ type: 'output-unlocked', output: outputOf(this.lock) }))
  }

  /** Notes gather while others are being written: many small tensors do not cost a write each. */
  #append(line: object): Promise<void> {
    this.#lines.push(`${JSON.stringify(line)}\n`)
    this.#writing ??= this.#write()
    return this.#writing
  }

  async #write(): Promise<void> {
    try {
      await Promise.resolve()
      while (this.#lines.length > 0) {
        const bytes = Buffer.from(this.#lines.splice(0).join(''))
        await this.lock.file.write(bytes, this.#position)
        this.#position += bytes.length
      }
    } finally {
      this.#writing = undefined
    }
  }
}

function outputOf(lock: Lock): string {
  return lock.path.slice(0, -journalPath('').length)
}

/** What the journal of an earlier run says. A line cut short ends it. */
export function parseJournal(lines: readonly string[]): Notes {
  const entries: JournalEntry[] = []
  const files: string[] = []
  let job: string | undefined
  let placing: Placing | undefined
  for (const line of lines) {
    const value = parseLine(line)
    if (value === undefined) break
    if (typeof value['job'] === 'string') job = value['job']
    else if (areNames(value['files'])) files.push(...value['files'])
    else if (isPlacing(value['placing'])) placing = value['placing']
    else if (isEntry(value)) entries.push(value)
    else break
  }
  return { job, files, entries, placing }
}

function isPlacing(value: unknown): value is Placing {
  return isFields(value) && areNames(value['files']) && value['files'].length > 0 && areNames(value['stale'])
}

/** Names of files in one folder, and no paths. */
function areNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((name) => typeof name === 'string' && isName(name))
}

function isName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('\0') && basename(name) === name
}

function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(line) as unknown
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function isEntry(value: object): value is JournalEntry {
  const { name, file = 0, position, size, crc } = value as Partial<JournalEntry>
  return (
    typeof name === 'string' &&
    [file, position, size, crc].every((number) => Number.isSafeInteger(number) && Number(number) >= 0)
  )
}
