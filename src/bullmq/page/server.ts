import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { QueueConnection } from '../connection.js'
import { openQueues, type FinishJob, type Queues } from '../jobs.js'
import { partsNow, progressOf, type FlowProgress } from '../progress.js'
import { QUEUE_NAME } from '../settings.js'
import { pageHtml } from './page-html.js'

export interface FlowPageOptions {
  /** Name of the queue; `apr-stream` where not given. */
  readonly queue?: string | undefined
  /** Address to listen at; 127.0.0.1 where not given. */
  readonly host?: string | undefined
  /** Port to listen at, 0 for a free one; 7878 where not given. */
  readonly port?: number | undefined
}

export interface FlowPage {
  readonly url: string
  close(): Promise<void>
}

/** What the page asks for. */
export interface FlowsJson {
  readonly schemaVersion: 1
  readonly queue: string
  /** Processes that make parts. */
  readonly workers: number
  /** The latest first. */
  readonly flows: readonly FlowProgress[]
}

/** What is shown at the most. */
const MAX_FLOWS = 50

/** Milliseconds for which what was read from the queue is told to everybody. */
const FRESH_MS = 900

export async function startPageWith(
  connection: QueueConnection,
  { queue = QUEUE_NAME, host = '127.0.0.1', port = 7878 }: FlowPageOptions = {},
): Promise<FlowPage> {
  const queues = await openQueues(connection, queue)
  const read = fresh(() => readFlows(queues, queue))
  const isLocal = /^(127\.|::1$|localhost$)/.test(host)
  const server = createServer((request, response) => void answer(request, response, { read, isLocal }))
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (error) {
    await queues.close()
    throw error
  }
  const { port: taken } = server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${taken}/`,
    async close() {
      server.close()
      server.closeAllConnections()
      await queues.close()
    },
  }
}

interface Answers {
  readonly read: () => Promise<FlowsJson>
  readonly isLocal: boolean
}

async function answer(request: IncomingMessage, response: ServerResponse, { read, isLocal }: Answers): Promise<void> {
  const path = (request.url ?? '/').split('?')[0]
  const send = (status: number, type: string, text: string, headers: Record<string, string> = {}): void => {
    response.writeHead(status, {
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      ...headers,
    })
    response.end(request.method === 'HEAD' ? undefined : text)
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') send(405, 'text/plain', 'GET only\n')
  // A page of somebody else's, whose name leads to this machine, is not to read it.
  else if (isLocal && !isLocalName(request.headers.host ?? '')) send(403, 'text/plain', 'not under this name\n')
  else if (path === '/') {
    const nonce = randomBytes(16).toString('base64')
    send(200, 'text/html', pageHtml(nonce), { 'content-security-policy': policyFor(nonce) })
  } else if (path === '/flows.json') {
    try {
      send(200, 'application/json', JSON.stringify(await read()))
    } catch {
      // What the database says may name its users.
      send(503, 'application/json', JSON.stringify({ error: 'the queue does not answer' }))
    }
  } else send(404, 'text/plain', 'not here\n')
}

function policyFor(nonce: string): string {
  const own = `style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; img-src data:`
  return `default-src 'none'; ${own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
}

function isLocalName(host: string): boolean {
  return /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?$/.test(host)
}

/** Many who look ask the queue once. */
function fresh<T>(read: () => Promise<T>): () => Promise<T> {
  let last: Promise<T> | undefined
  let at = -Infinity
  return () => {
    if (!last || performance.now() - at > FRESH_MS) {
      last = read()
      at = performance.now()
    }
    return last
  }
}

const FINISH_STATES = ['waiting-children', 'active', 'waiting', 'delayed', 'failed', 'completed'] as const

async function readFlows(queues: Queues, queue: string): Promise<FlowsJson> {
  const [jobs, now, workers] = await Promise.all([
    queues.finishes.getJobs([...FINISH_STATES], 0, MAX_FLOWS - 1),
    partsNow(queues),
    queues.parts.getWorkersCount(),
  ])
  const latest = (jobs as (FinishJob | undefined)[])
    .filter((job) => job !== undefined)
    .sort((a, b) => b.timestamp - a.timestamp)
    .slice(0, MAX_FLOWS)
  const flows = await Promise.all(latest.map((job) => progressOf(queues, job, now)))
  return { schemaVersion: 1, queue, workers, flows }
}
