/**
 * Which process holds a lock, and whether it still does. Of a process of the same machine and namespace the system
 * tells; of any other one only the lock itself, whose holder renews it.
 */
import { randomInt } from 'node:crypto'
import { hostname } from 'node:os'
import fs from 'fs-extra'
import { PositionedFile } from '../../positioned-file.js'

/** The process that holds a lock, as the lock's first line says it. */
export interface Owner {
  readonly pid: number
  /** When the process started, in the kernel's clock; only Linux tells. Tells a reused pid from the same process. */
  readonly started?: string | undefined
  /** For people: machines and containers of one name are many. */
  readonly host: string
  /** Whose numbers of processes `pid` is one of. Locks of older versions lack it. */
  readonly processes?: string
  /** The lock as that process has it open: tells which of its jobs and threads still holds it. */
  readonly descriptor?: number
}

/** A lock as it was found. */
export interface FoundLock {
  readonly path: string
  readonly device: bigint
  readonly inode: bigint
  /** When it was last written, in the clock of its file system. */
  readonly writtenMs: number
}

/** How often a holder renews its lock. */
export const RENEWAL_MS = 10_000
/**
 * The age from which a lock of which nothing else can be told counts as abandoned. Several renewals, and half a minute
 * that a network file system may keep a write to itself.
 */
const ABANDONED_MS = 60_000

/** This process, for the first line of a lock. */
export async function describeSelf(): Promise<Omit<Owner, 'descriptor'>> {
  const host = hostname()
  return { pid: process.pid, started: await startOf('self'), host, processes: await processesOf(host) }
}

/** Reads the first line of a lock; undefined for what is none. */
export function parseOwner(line: string): Owner | undefined {
  try {
    const owner = JSON.parse(line) as Partial<Owner> | null
    return typeof owner?.pid === 'number' && typeof owner.host === 'string' ? (owner as Owner) : undefined
  } catch {
    return undefined
  }
}

/** Who holds a lock, as the end of a sentence; undefined when nobody does any more. */
export async function holderOf(owner: Owner, lock: FoundLock): Promise<string | undefined> {
  const { pid, host, processes } = owner
  const isNeighbour = processes === undefined ? host === hostname() : processes === (await processesOf(hostname()))
  if (isNeighbour) {
    if (pid === process.pid) return (await isOpenHere(owner, lock)) ? 'another job of this process is' : undefined
    const isAlive = await lives(owner)
    if (isAlive !== undefined) return isAlive ? `process ${pid} is` : undefined
  }
  // A clock that was set back makes a lock of the future: its holder would have renewed it since.
  const ageMs = Math.abs((await fileSystemTime(lock.path)) - lock.writtenMs)
  if (ageMs > ABANDONED_MS) return undefined
  const [age, limit] = [ageMs, ABANDONED_MS].map((ms) => Math.round(ms / 1000))
  return `process ${pid} of ${host} is: its lock was written ${age} s ago, and counts as abandoned when nobody has written it for ${limit} s`
}

/**
 * Whose numbers of processes are ours. On Linux those of one boot of one kernel, and of a namespace of processes: two
 * containers may have one name, and a container another name after each start.
 */
async function processesOf(host: string): Promise<string> {
  try {
    const boot = await fs.readFile('/proc/sys/kernel/random/boot_id', 'utf8')
    return `${boot.trim()} ${await fs.readlink('/proc/self/ns/pid')}`
  } catch {
    return host
  }
}

/** Whether a job or thread of this process has the lock open. */
async function isOpenHere({ descriptor }: Owner, { device, inode }: FoundLock): Promise<boolean> {
  if (descriptor === undefined) return false
  try {
    const { dev, ino } = await fs.fstat(descriptor, { bigint: true })
    return dev === device && ino === inode
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBADF') return false
    throw error
  }
}

/** Whether a process of this machine and namespace lives; undefined where that cannot be told. */
async function lives({ pid, started, processes }: Owner): Promise<boolean | undefined> {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  // An older version does not renew its lock: it is alive as long as there is a process of its number.
  if (started === undefined) return processes === undefined ? true : undefined
  const found = await startOf(pid)
  return found === undefined ? undefined : found === started
}

/** When a process started; undefined where the system does not tell. */
async function startOf(pid: number | 'self'): Promise<string | undefined> {
  try {
    // The /proc of another namespace has other processes under the same numbers.
    if (pid !== 'self' && (await fs.readlink('/proc/self')) !== String(process.pid)) return undefined
    const stat = await fs.readFile(`/proc/${pid}/stat`, 'utf8')
    // Field 22, behind the name in parentheses, which may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

/** What time it is for the file system that holds `path`: machines that share it may not agree. */
async function fileSystemTime(path: string): Promise<number> {
  const probe = await PositionedFile.open(`${path}.now-${randomInt(2 ** 47)}`, 'wx+')
  try {
    await fs.remove(probe.path)
    return Number((await probe.stat()).mtimeMs)
  } finally {
    await probe.close()
  }
}
