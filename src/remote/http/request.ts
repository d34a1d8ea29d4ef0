/** One request for a range of bytes, whose body goes straight to where it is wanted. */
import type { Dispatcher } from 'undici'

/** Milliseconds: of a connection to be made, of an answer to begin. */
const CONNECT_MS = 15_000
const HEADERS_MS = 60_000

export interface RangeRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Bytes of the file: the first, and the one behind the last. */
  readonly start: number
  readonly end: number
  /** Takes the bytes of a partial answer; `received` is told of each as it comes. */
  readonly target: Uint8Array
  readonly received: (bytes: number) => void
  /**
   * Looks at an answer before a byte of its body is taken: what it throws ends the request.
   * @returns bytes that the body of a partial one has
   */
  readonly check: (answer: Answer) => number
  /** Milliseconds without a byte of the body after which the connection is given up. */
  readonly stallMs: number
  readonly signal: AbortSignal
}

export interface Answer {
  readonly status: number
  /** Names in small letters. */
  readonly headers: Readonly<Record<string, string | undefined>>
}

let shared: Promise<Dispatcher> | undefined

/** One for the process: connections are kept, and proxies of the environment asked. HTTP/1 alone: its windows are the system's. */
function dispatcher(): Promise<Dispatcher> {
  return (shared ??= import('undici').then(({ Agent, EnvHttpProxyAgent }) => {
    const options = { allowH2: false, connect: { timeout: CONNECT_MS }, headersTimeout: HEADERS_MS, pipelining: 1 }
    const hasProxy = ['http_proxy', 'https_proxy'].some((name) => process.env[name] ?? process.env[name.toUpperCase()])
    return hasProxy ? new EnvHttpProxyAgent(options) : new Agent(options)
  }))
}

/**
 * Bodies that are none of a range are thrown away.
 * @throws what `check` throws, what keeps the connection from its end, the signal's reason
 */
export async function requestRange(request: RangeRequest): Promise<Answer> {
  const agent = await dispatcher()
  const { origin, pathname, search } = new URL(request.url)
  return await new Promise((resolve, reject) => {
    agent.dispatch(
      {
        origin,
        path: pathname + search,
        method: 'GET',
        headers: {
          range: `bytes=${request.start}-${request.end - 1}`,
          'accept-encoding': 'identity',
          ...request.headers,
        },
        bodyTimeout: request.stallMs,
      },
      new RangeHandler(request, resolve, reject),
    )
  })
}

/** What is told of an error's body is its status: so many bytes of it are read, to keep the connection. */
const MAX_IGNORED_BYTES = 64 * 1024

class RangeHandler implements Dispatcher.DispatchHandler {
  readonly #request: RangeRequest
  readonly #resolve: (answer: Answer) => void
  readonly #reject: (error: Error) => void
  #answer: Answer | undefined
  #expected = 0
  #received = 0
  #abort: (() => void) | undefined

  constructor(request: RangeRequest, resolve: (answer: Answer) => void, reject: (error: Error) => void) {
    this.#request = request
    this.#resolve = resolve
    this.#reject = reject
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    const { signal } = this.#request
    this.#abort = () => controller.abort(signal.reason as Error)
    if (signal.aborted) this.#abort()
    else signal.addEventListener('abort', this.#abort)
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) return
    const named = Object.entries(headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : value,
    ])
    this.#answer = { status, headers: Object.fromEntries(named) as Answer['headers'] }
    try {
      this.#expected = this.#request.check(this.#answer)
    } catch (error) {
      controller.abort(error as Error)
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { target, received } = this.#request
    const before = this.#received
    this.#received += chunk.length
    if (this.#answer?.status !== 206) {
      // Of an error that the caller looks at it is the status that counts.
      if (this.#received > MAX_IGNORED_BYTES) this.#end(() => this.#answer && this.#resolve(this.#answer), controller)
      return
    }
    const wanted = this.#expected - before
    target.set(chunk.length > wanted ? chunk.subarray(0, wanted) : chunk, before)
    received(Math.min(chunk.length, wanted))
    if (chunk.length > wanted) controller.abort(new Error(`more than the ${this.#expected} bytes that were asked for`))
  }

  onResponseEnd(): void {
    this.#end(() => {
      const missing = this.#expected - this.#received
      if (!this.#answer) this.#reject(new Error('an end without an answer'))
      else if (this.#answer.status === 206 && missing > 0) this.#reject(new Error(`an end ${missing} bytes too early`))
      else this.#resolve(this.#answer)
    })
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#end(() => this.#reject(error))
  }

  #end(settle: () => void, controller?: Dispatcher.DispatchController): void {
    if (this.#abort) this.#request.signal.removeEventListener('abort', this.#abort)
    settle()
    controller?.abort(new Error('the rest of an answer is not wanted'))
  }
}
