/** A real PostgreSQL. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { dataFolder, freePort, programPath, startServer, type Server } from './server.js'

export interface PostgresServer extends Server {
  /** Of the database `postgres`, as a user who may do anything, without a password. */
  readonly url: string
}

/** For `notThere`. */
export const POSTGRES_PROGRAMS = ['initdb', 'postgres', ...(process.getuid?.() === 0 ? ['setpriv'] : [])]

/** Starts PostgreSQL with a new database. It refuses to be root: then it runs as a user who has nothing else. */
export async function startPostgres(t: Test): Promise<PostgresServer> {
  const folder = dataFolder(t)
  const user = process.getuid?.() === 0 ? plainUser() : undefined
  const data = join(folder, 'data')
  mkdirSync(data)
  if (user !== undefined) execFileSync('chown', ['-R', `${user}:`, folder])
  const initdb = [programPath('initdb') ?? 'initdb', '--pgdata', data, '--username', 'test', '--auth', 'trust']
  const asUser = user === undefined ? [] : ['setpriv', '--reuid', user, '--regid', groupOf(user), '--clear-groups']
  const command = [...asUser, ...initdb, '--encoding', 'UTF8', '--no-sync']
  execFileSync(command[0] ?? '', command.slice(1), { cwd: folder, stdio: 'pipe' })
  const port = await freePort()
  const settings = ['listen_addresses=127.0.0.1', `port=${port}`, 'unix_socket_directories=', 'max_connections=100']
  const server = await startServer(t, folder, port, {
    ...{ program: 'postgres', user, group: user && groupOf(user) },
    args: ['-D', data, ...settings.flatMap((setting) => ['-c', setting])],
  })
  return Object.assign(server, { url: `postgres://test@127.0.0.1:${port}/postgres` })
}

/** The one that the package has made, or the one that there is everywhere. */
function plainUser(): string {
  return ['postgres', 'nobody'].find(isUser) ?? 'nobody'
}

function isUser(name: string): boolean {
  try {
    execFileSync('id', [name], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function groupOf(user: string): string {
  return execFileSync('id', ['-gn', user], { encoding: 'utf8' }).trim()
}
