/**
 * Who may write an output: one process at a time. The claim is a file beside the output, `<output>.partial.journal`,
 * that is created exclusively and names the process; it is there exactly as long as the partial file may be. A claim
 * whose process is dead is taken over.
 */
import { hostname } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import fs from 'fs-extra'
import { AprError } from '../errors.js'

/** The process that holds a claim. */
interface Owner {
  readonly pid: number
  /** When the process started, in the kernel's clock; only Linux tells. Tells a reused pid from the same process. */
  readonly started: string | undefined
  readonly host: string
}

export interface Claim {
  readonly path: string
  /** Open for reading and writing; its first line names this process. */
  readonly descriptor: number
  /** Bytes of that line. */
  readonly size: number
  /** What the dead process had written, line by line, where the claim was taken over. */
  readonly inherited: readonly string[] | undefined
}

/** Claims that this process holds. */
const held = new Set<string>()

/** How long a claim without a readable first line is taken for one that is just being written. */
const WRITING_MS = 500
const ATTEMPTS = 5

/**
 * @throws AprError `APR_BUSY` when another process, or another job of this one, holds the claim
 * @throws the file system's own errors
 */
export async function claim(path: string): Promise<Claim> {
  let inherited: readonly string[] | undefined
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const created = await create(path, inherited)
    if (created) return created
    inherited = (await takeOver(path)) ?? inherited
  }
  throw busy(path, 'another process')
}

/** Gives the claim up: closes and removes its file, or with `keep` leaves it for a later run to take over. */
export async function unclaim(claim: Claim, keep = false): Promise<void> {
  const { path, descriptor } = claim
  const isOurs = await isClaimed(claim)
  held.delete(path)
  try {
    await fs.close(descriptor)
  } finally {
    if (!keep && isOurs) await fs.remove(path)
  }
}

/** @throws AprError `APR_BUSY` when the claim is no longer this one */
export async function checkClaim(claim: Claim): Promise<void> {
  if (!(await isClaimed(claim))) throw busy(claim.path, 'another process, which took it over,')
}

/** Whether the claim is still this one. */
export async function isClaimed({ path, descriptor }: Claim): Promise<boolean> {
  try {
    const mine = await fs.fstat(descriptor, { bigint: true })
    const there = await fs.stat(path, { bigint: true })
    return there.ino === mine.ino && there.dev === mine.dev
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function create(path: string, inherited: readonly string[] | undefined): Promise<Claim | undefined> {
  let descriptor: number
  try {
    descriptor = await fs.open(path, 'wx+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
    throw error
  }
  held.add(path)
  try {
    const owner: Owner = { pid: process.pid, started: await startOf(process.pid), host: hostname() }
    const line = Buffer.from(`${JSON.stringify(owner)}\n`)
    await fs.write(descriptor, line, 0, line.length, 0)
    return { path, descriptor, size: line.length, inherited }
  } catch (error) {
    await unclaim({ path, descriptor, size: 0, inherited })
    throw error
  }
}

/** Moves a dead process's claim away. Returns its lines; undefined when it went away by itself. */
async function takeOver(path: string): Promise<readonly string[] | undefined> {
  const found = await readClaim(path)
  if (found === undefined) return undefined
  const { lines, owner, inode } = found
  if (owner && (await isAlive(owner, path))) {
    throw busy(path, owner.host === hostname() ? `process ${owner.pid}` : `process ${owner.pid} of ${owner.host}`)
  }
  const aside = `${path}.${process.pid}`
  try {
    await fs.rename(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  // Between the look and the move another process may have taken the claim over: then what was moved is its new one.
  const moved = await fs.stat(aside, { bigint: true })
  if (moved.ino !== inode) {
    await fs.link(aside, path).catch(() => undefined)
    await fs.remove(aside)
    throw busy(path, 'another process')
  }
  await fs.remove(aside)
  return lines
}

async function readClaim(
  path: string,
): Promise<{ lines: string[]; owner: Owner | undefined; inode: bigint } | undefined> {
  for (let waited = 0; ; waited += 50) {
    try {
      const { ino: inode } = await fs.stat(path, { bigint: true })
      const lines = (await fs.readFile(path, 'utf8')).split('\n')
      const owner = parseOwner(lines[0] ?? '')
      if (owner || waited >= WRITING_MS) return { lines: lines.slice(1), owner, inode }
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
