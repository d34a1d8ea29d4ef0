/**
 * Who may write an output: one process at a time. The lock is a file beside the output, `<output>.partial.journal`,
 * that is created exclusively and names the process; it is there exactly as long as the partial file may be. A lock
 * whose process is dead is taken over.
 */
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import fs from 'fs-extra'
import { AprError } from '../model/errors.js'
import { PositionedFile } from './positioned-file.js'

/** The process that holds a lock. */
interface Owner {
  readonly pid: number
  /** When the process started, in the kernel's clock; only Linux tells. Tells a reused pid from the same process. */
  readonly started: string | undefined
  readonly host: string
}

export interface Lock {
  readonly path: string
  /** Open for reading and writing; its first line names this process. */
  readonly file: PositionedFile
  /** Bytes of that line. */
  readonly size: number
  /** What the dead process had written, line by line, where the lock was taken over. It stands behind the first line. */
  readonly inherited: readonly string[] | undefined
}

/** Locks that this process holds. */
const held = new Set<string>()

/** How long a lock without a readable first line is taken for one that is just being written. */
const WRITING_MS = 500
const ATTEMPTS = 5

/**
 * @throws AprError `APR_BUSY` when another process, or another job of this one, holds the lock
 * @throws the file system's own errors
 */
export async function lock(path: string): Promise<Lock> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const created = await create(path)
    if (created) return await inherit(created)
    await takeOver(path)
  }
  throw busy(path, 'another process')
}

/** Adds to a new lock what dead processes had written: their locks stand beside it, each under its process's number. */
async function inherit(lock: Lock): Promise<Lock> {
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
      if (!read.owner || read.owner.pid === process.pid || !(await isAlive(read.owner, path))) {
        asides.push({ path: aside, lines: read.lines })
      }
    }
    if (asides.length === 0) return lock
    // The one that says most: of several, the others were killed while they took it over.
    const { lines } = asides.reduce((most, aside) => (aside.lines.length > most.lines.length ? aside : most))
    await file.write(Buffer.from(lines.join('\n')), size)
    for (const aside of asides) await fs.remove(aside.path)
    return { ...lock, inherited: lines }
  } catch (error) {
    await unlock(lock, asides.length > 0)
    throw error
  }
}

/** Gives the lock up: closes and removes its file, or with `keep` leaves it for a later run to take over. */
export async function unlock(lock: Lock, keep = false): Promise<void> {
  const { path, file } = lock
  // What cannot be looked at stays: it may be another's.
  const isOurs = await holdsLock(lock).catch(() => false)
  // Kept, it is nobody's: its process may live on, and another one may go on with it.
  if (keep) await file.write(Buffer.alloc(Math.max(0, lock.size - 1), ' '), 0).catch(() => undefined)
  try {
    await file.close().finally(() => (keep || !isOurs ? undefined : fs.remove(path)))
  } finally {
    // Not before the file is gone: another job of this process would take its lock for a dead one.
    held.delete(path)
  }
}

/** @throws AprError `APR_BUSY` when the lock is no longer this one */
export async function checkLock(lock: Lock): Promise<void> {
  if (!(await holdsLock(lock))) throw busy(lock.path, 'another process, which took it over,')
}

/** Whether the lock is still this one. */
export async function holdsLock({ path, file }: Lock): Promise<boolean> {
  try {
    const mine = await file.stat()
    const there = await fs.stat(path, { bigint: true })
    return there.ino === mine.ino && there.dev === mine.dev
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function create(path: string): Promise<Lock | undefined> {
  let file: PositionedFile
  try {
    file = await PositionedFile.open(path, 'wx+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
    throw error
  }
  held.add(path)
  try {
    const owner: Owner = { pid: process.pid, started: await startOf(process.pid), host: hostname() }
    const line = Buffer.from(`${JSON.stringify(owner)}\n`)
    await file.write(line, 0)
    return { path, file, size: line.length, inherited: undefined }
  } catch (error) {
    await unlock({ path, file, size: 0, inherited: undefined })
    throw error
  }
}

/** Moves a dead process's lock aside, if it has not gone by itself. */
async function takeOver(path: string): Promise<void> {
  const found = await readLock(path)
  if (found === undefined) return
  const { owner, inode } = found
  if (owner && (await isAlive(owner, path))) {
    throw busy(path, owner.host === hostname() ? `process ${owner.pid}` : `process ${owner.pid} of ${owner.host}`)
  }
  const aside = `${path}.${process.pid}`
  try {
    await fs.rename(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  // Between the look and the move another process may have taken the lock over: then what was moved is its new one.
  const moved = await fs.stat(aside, { bigint: true })
  if (moved.ino !== inode) {
    await fs.link(aside, path).catch(() => undefined)
    await fs.remove(aside)
    throw busy(path, 'another process')
  }
}

/** @param writingMs how long to wait for a first line */
async function readLock(
  path: string,
  writingMs = WRITING_MS,
): Promise<{ lines: string[]; owner: Owner | undefined; inode: bigint } | undefined> {
  for (let waited = 0; ; waited += 50) {
    try {
      const { ino: inode } = await fs.stat(path, { bigint: true })
      const lines = (await fs.readFile(path, 'utf8')).split('\n')
      const owner = parseOwner(lines[0] ?? '')
      const isReleased = lines.length > 1 && lines[0]?.trim() === ''
      if (owner || isReleased || waited >= writingMs) return { lines: lines.slice(1), owner, inode }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    await setTimeout(50)
  }
}

function parseOwner(line: string): Owner | undefined {
  try {
    const owner = JSON.parse(line) as Partial<Owner> | null
    return typeof owner?.pid === 'number' && typeof owner.host === 'string' ? (owner as Owner) : undefined
  } catch {
    return undefined
  }
}

async function isAlive(owner: Owner, path: string): Promise<boolean> {
  // Of a process on another machine nothing can be told: better no output than two writers.
  if (owner.host !== hostname()) return true
  if (owner.pid === process.pid) return held.has(path)
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  return owner.started === undefined || owner.started === (await startOf(owner.pid))
}

/** Field 22 of /proc/PID/stat, behind the name in parentheses, which may hold anything. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await fs.readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

function busy(path: string, by: string): AprError {
  const file = path.replace(/\.partial\.journal$/, '')
  return new AprError(
    'APR_BUSY',
    `expected an output that nobody else is writing, found that ${by} is; if it is not, remove ${path}`,
    { file },
  )
}
