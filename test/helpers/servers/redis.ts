/** A real Redis. */
import type { Test } from 'tap'
import { dataFolder, freePort, startServer, type Server } from './server.js'

export interface RedisServer extends Server {
  readonly url: string
}

/** Starts redis-server, with its log of what was written kept on the disk: after a kill a restart has nearly all. */
export async function startRedis(t: Test): Promise<RedisServer> {
  const folder = dataFolder(t)
  const port = await freePort()
  const settings = {
    bind: '127.0.0.1',
    port: String(port),
    dir: folder,
    appendonly: 'yes',
    appendfsync: 'everysec',
    save: '',
    'maxmemory-policy': 'noeviction',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const server = await startServer(t, folder, port, { program: 'redis-server', args })
  return Object.assign(server, { url: `redis://127.0.0.1:${port}` })
}
