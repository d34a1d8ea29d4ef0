/**
 * The journal of a partial file: which job it is of, and which tensors are in it, each with its place and CRC-32. A
 * later run of the same job proves them by reading them back, and goes on.
 */
import { publish } from './diagnostics.js'
import { unlock, type Lock } from './lock/lock.js'
import { journalPath } from './output-place.js'

/** A tensor that is in the partial file in full. */
export interface JournalEntry {
  readonly name: string
  /** Absolute offset and bytes in the partial file. */
  readonly position: number
  readonly size: number
  readonly crc: number
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

  /** Starts anew, and says which job this is: what must be the same for another run to go on with it. */
  async begin(job: string | undefined): Promise<void> {
    await this.lock.file.resize(this.lock.size)
    this.#position = this.lock.size
    if (job !== undefined) await this.#append({ job })
  }

  /** Goes on behind what an earlier run has written: the same job, and these tensors. */
  async goOn(job: string, entries: readonly JournalEntry[]): Promise<void> {
    await Promise.all([this.#append({ job }), ...entries.map((entry) => this.#append(entry))])
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

/** What the journal of an earlier run says: its job, and the tensors that it noted. A line cut short ends it. */
export function parseJournal(lines: readonly string[]): { job: string | undefined; entries: JournalEntry[] } {
  const entries: JournalEntry[] = []
  let job: string | undefined
  for (const line of lines) {
    const value = parseLine(line)
    if (value === undefined) break
    if (typeof value['job'] === 'string') job = value['job']
    else if (isEntry(value)) entries.push(value)
    else break
  }
  return { job, entries }
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
  const { name, position, size, crc } = value as Partial<JournalEntry>
  return (
    typeof name === 'string' &&
    [position, size, crc].every((number) => Number.isSafeInteger(number) && Number(number) >= 0)
  )
}
