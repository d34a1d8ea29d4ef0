/**
 * Who may write an output: one job at a time. The lock is a file beside the output, `<output>.partial.journal`, that is
 * created exclusively and names its holder, who renews it; it is there exactly as long as the partial file may be. A
 * lock whose holder is dead, or has not renewed it for long and cannot be asked, is taken over.
 */
import { randomInt } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import fs from 'fs-extra'
import { AprError } from '../../../model/errors.js'
import { checkRegularFile } from '../../open-source.js'
import { describeSelf, holderOf, parseOwner, RENEWAL_MS, type FoundLock, type Owner } from './owner.js'
import { PositionedFile } from '../../positioned-file.js'

export interface Lock {
  readonly path: string
  /** Open for reading and writing; its first line names this process. */
  readonly file: PositionedFile
  /** Bytes of that line. */
  readonly size: number
  /** What the dead process had written, line by line, where the lock was taken over. It stands behind the first line. */
  readonly inherited: readonly string[] | undefined
  /** Ends the renewals, and waits for one that is under way. */
  readonly stopRenewing: () => Promise<void>
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** How long a lock without a readable first line is taken for one that is just being written. */
const WRITING_MS = 500
const ATTEMPTS = 5

/**
 * @param created told of the lock as soon as its file is there; the rest of it follows
 * @throws AprError `APR_BUSY` when another process, or another job of this one, holds the lock
 * @throws the file system's own errors
 */
export async function lock(path: string, created: (lock: Lock) => void): Promise<Lock> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const lock = await create(path, created)
    if (lock) {
      await inherit(lock)
      return lock
    }
    await takeOver(path)
  }
  throw busy(path, ANOTHER)
}

/** Adds to a new lock what dead processes had written: their locks stand beside it, each under a number of its own. */
async function inherit(lock: Mutable<Lock>): Promise<void> {
  const { path, file, size } = lock
  const asides: { path: string; lines: readonly string[] }[] = []
  try {
    const name = `${basename(path)}.`
    const { ino: mine } = await file.stat()
    for (const found of await fs.readdir(dirname(path))) {
      const aside = join(dirname(path), found)
      if (!found.startsWith(name) || !/^\d+$/.test(found.slice(name.length))) continue
      const read = await readLock(aside, 0)
      // Another process may just be looking at a lock that it moved: ours, or a living one's.
      if (read === undefined || read.inode === mine) continue
      const isHeld = read.owner && (await holderOf(read.owner, read)) !== undefined
      if (!isHeld) asides.push({ path: aside, lines: read.lines })
    }
    if (asides.length === 0) return
    // The one that says most: of several, the others were killed while they took it over.
    const { lines } = asides.reduce((most, aside) => (aside.lines.length > most.lines.length ? aside : most))
    lock.inherited = lines
    await file.write(Buffer.from(lines.join('\n')), size)
    for (const aside of asides) await fs.remove(aside.path)
  } catch (error) {
    await unlock(lock, asides.length > 0)
    throw error
  }
}

/** Gives the lock up: closes and removes its file, or with `keep` leaves it for a later run to take over. */
export async function unlock(lock: Lock, keep = false): Promise<void> {
  const { path, file } = lock
  await lock.stopRenewing()
  // What cannot be looked at stays: it may be another's.
  const isOurs = await holdsLock(lock).catch(() => false)
  // Kept, it is nobody's: its process may live on, and another one may go on with it.
  if (keep) await file.write(Buffer.alloc(Math.max(0, lock.size - 1), ' '), 0).catch(() => undefined)
  try {
    // Not closed before it is gone: another thread of this process would take it for a dead one.
    if (isOurs && !keep) await fs.remove(path)
  } finally {
    await file.close()
  }
}

/** @throws AprError `APR_BUSY` when the lock is no longer this one */
export async function checkLock(lock: Lock): Promise<void> {
  if (!(await holdsLock(lock))) throw busy(lock.path, 'another process has taken it over')
}

/** Whether the lock is still this one. */
export async function holdsLock({ path, file }: Pick<Lock, 'path' | 'file'>): Promise<boolean> {
  try {
    const mine = await file.stat()
    const there = await fs.stat(path, { bigint: true })
    return there.ino === mine.ino && there.dev === mine.dev
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function create(path: string, created: (lock: Lock) => void): Promise<Mutable<Lock> | undefined> {
  const owner = await describeSelf()
  let file: PositionedFile
  try {
    file = await PositionedFile.open(path, 'wx+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
    throw error
  }
  const lock: Mutable<Lock> = { path, file, size: 0, inherited: undefined, stopRenewing: () => Promise.resolve() }
  created(lock)
  try {
    const line = Buffer.from(`${JSON.stringify({ ...owner, descriptor: file.descriptor })}\n`)
    await file.write(line, 0)
    lock.size = line.length
    lock.stopRenewing = renew(path, file, line)
    return lock
  } catch (error) {
    await unlock(lock)
    throw error
  }
}

/** Writes a byte of the lock again and again: the time of that is the file system's, whatever this machine's clock says. */
function renew(path: string, file: PositionedFile, line: Uint8Array): () => Promise<void> {
  let last = Promise.resolve()
  const write = async (): Promise<void> => {
    // Another process that has taken it over goes by the time at which it was given up.
    if (await holdsLock({ path, file })) await file.write(line.subarray(0, 1), 0)
  }
  const timer = setInterval(() => {
    last = last.then(write).catch(() => undefined)
  }, RENEWAL_MS).unref()
  return () => {
    clearInterval(timer)
    return last
  }
}

/** Moves a dead process's lock aside, if it has not gone by itself. */
async function takeOver(path: string): Promise<void> {
  const found = await readLock(path)
  if (found === undefined) return
  const holder = found.owner && (await holderOf(found.owner, found))
  if (holder !== undefined) throw busy(path, holder)
  const aside = `${path}.${randomInt(2 ** 47)}`
  try {
    await fs.rename(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  // Between the look and the move another process may have taken the lock over: then what was moved is its new one.
  const moved = await fs.stat(aside, { bigint: true })
  if (moved.ino !== found.inode) {
    await fs.link(aside, path).catch(() => undefined)
    await fs.remove(aside)
    throw busy(path, ANOTHER)
  }
}

/** @param writingMs how long to wait for a first line */
async function readLock(
  path: string,
  writingMs = WRITING_MS,
): Promise<(FoundLock & { lines: string[]; owner: Owner | undefined }) | undefined> {
  for (let waited = 0; ; waited += 50) {
    try {
      const found = await fs.stat(path, { bigint: true })
      // The read of a pipe would wait for whoever writes to it.
      checkRegularFile(found, path)
      const lines = (await fs.readFile(path, 'utf8')).split('\n')
      const owner = parseOwner(lines[0] ?? '')
      const isReleased = lines.length > 1 && lines[0]?.trim() === ''
      if (owner || isReleased || waited >= writingMs) {
        const { dev: device, ino: inode, mtimeMs } = found
        return { path, device, inode, writtenMs: Number(mtimeMs), lines: lines.slice(1), owner }
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    await setTimeout(50)
  }
}

/** Where two have come so close that it cannot be told who is first. */
const ANOTHER = 'another process is'

/** @param who the end of the sentence: who is writing it */
export function busy(path: string, who: string): AprError {
  const file = path.replace(/\.partial\.journal$/, '')
  return new AprError('APR_BUSY', `expected an output that nobody else is writing, found that ${who}`, { file })
}
