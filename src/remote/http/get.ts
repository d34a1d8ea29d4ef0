/** GET requests by Node's own client, with connections that are kept. */
import http from 'node:http'
import https from 'node:https'

/** Milliseconds until an answer has to begin. */
const ANSWER_MS = 60_000
/** Connections of the process to one host. */
const MAX_SOCKETS = 64

export interface Answer {
  readonly status: number
  /** Names in small letters. */
  readonly headers: Readonly<Record<string, string | undefined>>
}

export interface GetRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Milliseconds without a byte of the body after which the connection is given up. */
  readonly stallMs: number
  readonly signal?: AbortSignal | undefined
  /** Told before the body comes; what it throws ends the request. */
  readonly onAnswer: (answer: Answer) => void
  /** Told of each piece of the body; with `false` the rest is not wanted. What it throws ends the request. */
  readonly onData: (chunk: Buffer) => boolean
}

const AGENTS = {
  'http:': { module: http, agent: new http.Agent({ keepAlive: true, maxSockets: MAX_SOCKETS }) },
  'https:': { module: https, agent: new https.Agent({ keepAlive: true, maxSockets: MAX_SOCKETS }) },
} as const

/**
 * Resolves when all of the body came, or as much of it as is wanted.
 * @throws what keeps the body from its end, what the callbacks throw, the signal's reason
 */
export async function get({ url, headers, stallMs, signal, onAnswer, onData }: GetRequest): Promise<Answer> {
  const { module, agent } = AGENTS[new URL(url).protocol === 'https:' ? 'https:' : 'http:']
  return await new Promise<Answer>((resolve, reject) => {
    const request = module.get(url, { agent, headers: { 'accept-encoding': 'identity', ...headers } })
    const abort = (): void => void request.destroy(signal?.reason as Error)
    const fail = (error: Error): void => {
      signal?.removeEventListener('abort', abort)
      request.destroy()
      reject(error)
    }
    if (signal?.aborted === true) abort()
    else signal?.addEventListener('abort', abort)
    request.setTimeout(ANSWER_MS, () => fail(new Error('no answer in time')))
    request.on('error', fail)
    request.on('response', (response) => {
      const answer = answerOf(response)
      const done = (): void => {
        signal?.removeEventListener('abort', abort)
        resolve(answer)
      }
      request.setTimeout(stallMs, () => fail(new Error('a body that stalled')))
      const guarded = (work: () => void): void => {
        try {
          work()
        } catch (error) {
          fail(error as Error)
        }
      }
      response.on('data', (chunk: Buffer) =>
        guarded(() => {
          if (onData(chunk)) return
          done()
          request.destroy()
        }),
      )
      response.on('end', () => (response.complete ? done() : fail(new Error('an end that came too early'))))
      response.on('error', fail)
      guarded(() => onAnswer(answer))
    })
  })
}

function answerOf({ statusCode = 0, headers }: http.IncomingMessage): Answer {
  const named = Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value])
  return { status: statusCode, headers: Object.fromEntries(named) as Answer['headers'] }
}
