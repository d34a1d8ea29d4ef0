/** One request for a range of bytes, whose body goes straight to where it is wanted. */
import { get, type Answer } from './get.js'

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

/** What is told of an error's body is its status: so many bytes of it are read, to keep the connection. */
const MAX_IGNORED_BYTES = 64 * 1024

/**
 * Bodies that are none of a range are thrown away.
 * @throws what `check` throws, what keeps the connection from its end, the signal's reason
 */
export async function requestRange(request: RangeRequest): Promise<Answer> {
  const { url, headers, start, end, target, stallMs, signal } = request
  const body = { isPartial: false, expected: 0, received: 0 }
  const answer = await get({
    ...{ url, headers: { range: `bytes=${start}-${end - 1}`, ...headers }, stallMs, signal },
    onAnswer(found) {
      body.expected = request.check(found)
      body.isPartial = found.status === 206
    },
    onData(chunk) {
      const before = body.received
      body.received += chunk.length
      // Of an error that the caller looks at it is the status that counts.
      if (!body.isPartial) return body.received <= MAX_IGNORED_BYTES
      if (body.received > body.expected) throw new Error(`more than the ${body.expected} bytes that were asked for`)
      target.set(chunk, before)
      request.received(chunk.length)
      return true
    },
  })
  const missing = body.isPartial ? body.expected - body.received : 0
  if (missing > 0) throw new Error(`an end ${missing} bytes too early`)
  return answer
}
