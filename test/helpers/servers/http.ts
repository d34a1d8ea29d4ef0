/** HTTP servers on the loopback interface: one that serves files by ranges and does what it is told wrong, and a small Hub. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** What a server does with a request instead of answering it; undefined: it answers. */
export type Fault = (request: IncomingMessage, response: ServerResponse, answer: () => void) => void

export interface Served {
  readonly url: string
  /** Every request, in order: its path and query, and the range that was asked for. */
  readonly requests: { readonly path: string; readonly range: string; readonly headers: IncomingMessage['headers'] }[]
  /** Bytes of bodies that were sent. */
  sent: number
  /** Looks at each request: a fault that it gives is done. */
  fault: (request: IncomingMessage, count: number) => Fault | undefined
  /** By path, with a slash in front. */
  readonly files: Map<string, Content>
}

/** A file's bytes, or the first of them where all others are zeros. */
export type Content = Uint8Array | { readonly head: Uint8Array; readonly size: number }

/** A server of files, until the test ends. */
export async function serveFiles(
  t: Test,
  files: Readonly<Record<string, Content>> = {},
  route: (request: IncomingMessage, response: ServerResponse, served: Served) => boolean = () => false,
): Promise<Served> {
  const served: Served = {
    url: '',
    requests: [],
    sent: 0,
    fault: () => undefined,
    files: new Map(Object.entries(files).map(([name, bytes]) => [`/${name}`, bytes])),
  }
  const server = createServer((request, response) => {
    const { url = '', headers } = request
    served.requests.push({ path: url, range: headers.range ?? '', headers })
    const answer = (): void => {
      if (!route(request, response, served)) sendFile(request, response, served)
    }
    const fault = served.fault(request, served.requests.length)
    if (fault) fault(request, response, answer)
    else answer()
  })
  await listen(server)
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return Object.assign(served, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
}

function etagOf(content: Content): string {
  const bytes = 'head' in content ? content.head : content
  return `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"`
}

function partOf(content: Content, start: number, end: number): Uint8Array {
  if (!('head' in content)) return content.subarray(start, end)
  const part = Buffer.alloc(end - start)
  part.set(content.head.subarray(start, end))
  return part
}

/** Answers a range as it should be answered. */
export function sendFile(request: IncomingMessage, response: ServerResponse, served: Served): void {
  const path = decodeURIComponent((request.url ?? '').split('?')[0] ?? '')
  const bytes = served.files.get(path)
  if (bytes === undefined) {
    response.writeHead(404).end('not here')
    return
  }
  const size = 'head' in bytes ? bytes.size : bytes.length
  const etag = etagOf(bytes)
  const { range = '', 'if-match': wanted } = request.headers
  if (wanted !== undefined && wanted !== etag) {
    response.writeHead(412).end()
    return
  }
  const [, first = '', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? []
  const start = Number(first)
  const end = Math.min(size, last === '' ? size : Number(last) + 1)
  if (range !== '' && start >= size) {
    response.writeHead(416, { 'content-range': `bytes */${size}`, etag }).end()
    return
  }
  const body = partOf(bytes, start, end)
  served.sent += body.length
  response.writeHead(range === '' ? 200 : 206, {
    etag,
    'content-length': body.length,
    'accept-ranges': 'bytes',
    ...(range !== '' && { 'content-range': `bytes ${start}-${end - 1}/${size}` }),
  })
  response.end(body)
}

/** What goes wrong, by name. */
export const FAULTS = {
  /** The connection ends before the body does. */
  cut: (_request, response, answer) => {
    response.end = ((body?: Uint8Array): ServerResponse => {
      const half = Buffer.from(body ?? []).subarray(0, Math.ceil((body?.length ?? 0) / 2))
      response.write(half, () => response.destroy())
      return response
    }) as typeof response.end
    answer()
  },
  /** Half of the body comes, and then nothing. */
  stall: (_request, response, answer) => {
    response.end = ((body?: Uint8Array): ServerResponse => {
      response.write(Buffer.from(body ?? []).subarray(0, Math.ceil((body?.length ?? 0) / 2)))
      return response
    }) as typeof response.end
    answer()
  },
  /** No answer at all. */
  refuse: (request) => request.socket.destroy(),
  unavailable: (_request, response) => response.writeHead(503).end('busy'),
  tooMany: (_request, response) => response.writeHead(429, { 'retry-after': '1' }).end(),
  error: (_request, response) => response.writeHead(500).end(),
} as const satisfies Record<string, Fault>

/** The whole file, as servers send it that know no ranges. */
export const wholeFile: Fault = (request, _response, answer) => {
  delete request.headers.range
  answer()
}

/** Changes what an answer says of itself. */
export function headers(change: (headers: Record<string, string | number>) => void): Fault {
  return (_request, response, answer) => {
    const writeHead = response.writeHead.bind(response)
    response.writeHead = ((status: number, fields: Record<string, string | number>) => {
      change(fields)
      return writeHead(status, fields)
    }) as typeof writeHead
    answer()
  }
}
