/**
 * A real server as a process of its own: on a free port of this machine, with its data in a temporary folder, ended with the
 * test, whatever becomes of it. Where its program is not there the tests that need it are skipped, and counted as skipped:
 * `test(name, { skip: notThere('redis-server') }, ...)`.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

export interface Server {
  readonly port: number
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>
  /** Starts it again, on the same port and with the data that is there. */
  restart(): Promise<void>
  /** Of the process that runs now. */
  readonly pid: number
}

/** How a server is started. */
export interface Command {
  readonly program: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** User and group to whom it is given up, by `setpriv`. */
  readonly user?: string | undefined
  readonly group?: string | undefined
}

/** Where distributions and Go put programs that are not on everybody's path. */
const FOLDERS = [
  ...(process.env['PATH'] ?? '').split(delimiter),
  join(process.env['GOPATH'] ?? join(homedir(), 'go'), 'bin'),
  ...postgresFolders(),
]

/** Path of a program, where it is there. */
export function programPath(name: string): string | undefined {
  return FOLDERS.map((folder) => join(folder, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** For `skip` of a test: why it cannot run, or false. */
export function notThere(...programs: readonly string[]): string | false {
  const missing = programs.filter((name) => programPath(name) === undefined)
  return missing.length > 0 && `${missing.join(', ')}: not on this machine`
}

/** An empty folder for a server's data, which goes with the test. */
export function dataFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'apr-server-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a server and waits until it takes connections. Called after `dataFolder`, it ends before its data goes. */
export async function startServer(t: Test, folder: string, port: number, command: Command): Promise<Server> {
  const log = join(folder, 'server.log')
  let child = await startProcess(log, port, command)
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  const killNow = (): unknown => child.kill('SIGKILL')
  process.once('exit', killNow)
  // Of tap's teardowns the last one that was added runs first.
  t.teardown(async () => {
    process.off('exit', killNow)
    await kill()
  })
  return {
    port,
    kill,
    async restart() {
      await kill()
      child = await startProcess(log, port, command)
    },
    get pid() {
      return child.pid ?? 0
    },
  }
}

async function startProcess(log: string, port: number, command: Command): Promise<ChildProcess> {
  const { program, args, env, user, group = user } = command
  const path = programPath(program)
  if (path === undefined) throw new Error(`${program} is not on this machine`)
  const output = openSync(log, 'a')
  // It ends with this process also where that is killed.
  const setpriv = programPath('setpriv')
  const asUser = user && group ? ['--reuid', user, '--regid', group, '--clear-groups'] : []
  if (user !== undefined && setpriv === undefined) throw new Error('setpriv is not on this machine')
  const [first, ...rest] = setpriv ? [setpriv, ...asUser, '--pdeathsig', 'KILL', path, ...args] : [path, ...args]
  const child = spawn(first, rest, {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', output, output],
  })
  for (let tries = 0; tries < 300; tries++) {
    if (child.exitCode !== null || child.signalCode !== null) break
    if (await answers(port)) return child
    await sleep(100)
  }
  child.kill('SIGKILL')
  throw new Error(`${program} did not start:\n${readFileSync(log, 'utf8')}`)
}

/** Whether somebody listens. */
async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  socket.destroy()
  return isOpen
}

/** Debian's packages keep every version's programs apart. */
function postgresFolders(): string[] {
  const root = '/usr/lib/postgresql'
  try {
    return readdirSync(root)
      .sort((a, b) => Number(b) - Number(a))
      .map((version) => join(root, version, 'bin'))
  } catch {
    return []
  }
}
