/**
 * A file that is read by ranges over HTTP. Every answer is checked to be the part that was asked for, of the file that was
 * opened: a file that changes is an error, never mixed bytes. What passes, a cut connection, a server that is busy, an
 * address that has expired, is tried again, from the byte that is missing on.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import { remoteError } from '../address.js'
import { SmallReads } from './small-reads.js'
import type { Address, Locator } from './locator.js'
import { PassingError, passingStatus } from './passing.js'
import type { Answer } from './get.js'
import { requestRange } from './request.js'

/** How patient reads are. */
export interface Patience {
  /** Tries after the first one. Default 8: about a minute. */
  readonly retries?: number | undefined
  /** Milliseconds without a byte after which a connection is given up. Default 15,000. */
  readonly stallMs?: number | undefined
  /** Milliseconds before the first try after a failure; each further wait is twice as long. Default 250. */
  readonly waitMs?: number | undefined
}

const PATIENCE = { retries: 8, stallMs: 15_000, waitMs: 250 }
/** Milliseconds that are waited at the most, also where a server asks for more. */
const MAX_WAIT_MS = 30_000
const MAX_ASKED_WAIT_MS = 600_000
const MAX_REDIRECTS = 5
/** Statuses of an address that was good before and is no longer: signed ones expire. */
const EXPIRED_STATUSES = [400, 401, 403, 404, 410]
/** Bytes that are read as a file is opened: the headers of most are in them. */
const OPENING_BYTES = 64 * 1024

/** What is known of the file, from the first answer on. */
interface Pinned {
  readonly size: number
  readonly etag: string | undefined
  readonly lastModified: string | undefined
}

/** Where the file is at the moment. */
interface Place {
  readonly address: Address
  /** Redirects that led there; they may have expired. */
  readonly redirects: number
}

/** @throws AprError `APR_REMOTE` where the file cannot be read by ranges */
export async function openRanges(locator: Locator, patience: Patience = {}): Promise<ByteSource> {
  const file = new RangedFile(locator, { ...PATIENCE, ...defined(patience) })
  try {
    await file.open()
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

class RangedFile implements ByteSource {
  readonly name: string
  version?: string
  readonly #locator: Locator
  readonly #patience: typeof PATIENCE
  readonly #closed = new AbortController()
  readonly #small = new SmallReads((target, position) => this.#fill(target, position))
  #pinned: Pinned | undefined
  #place: Promise<Place> | undefined

  constructor(locator: Locator, patience: typeof PATIENCE) {
    this.name = locator.name
    this.#locator = locator
    this.#patience = patience
  }

  get size(): number {
    return this.#pinned?.size ?? 0
  }

  /** The first bytes tell how many there are. */
  async open(): Promise<void> {
    const start = new Uint8Array(OPENING_BYTES)
    await this.#retry(0, async () => {
      // Of a small file there are fewer, which is no early end.
      const opening = await this.#ask(0, OPENING_BYTES, start, () => undefined)
      if (opening.status === 416) this.#pin(opening, 0)
    })
    this.#small.put(start.subarray(0, Math.min(this.size, OPENING_BYTES)))
    const { etag, lastModified } = this.#pinned ?? {}
    const told = this.#locator.version ?? etag ?? lastModified
    if (told !== undefined) this.version = `${this.name} ${told} ${this.size}`
  }

  async read(target: Uint8Array, position: number): Promise<void> {
    if (position + target.length > this.size) {
      const what = `expected ${target.length} bytes, found the end of the file at byte ${this.size}`
      throw new AprError('APR_TRUNCATED', what, { file: this.name, offset: position })
    }
    if (this.#small.takes(target)) await this.#small.read(target, position, this.size)
    else await this.#fill(target, position)
  }

  /** Asks for one byte: what is answered must be of the same file. */
  async checkUnchanged(): Promise<void> {
    if (this.#locator.version === undefined && this.size > 0) await this.#fill(new Uint8Array(1), 0)
  }

  close(): Promise<void> {
    this.#closed.abort(new Error('the source was closed'))
    return Promise.resolve()
  }

  async #fill(target: Uint8Array, position: number): Promise<void> {
    let filled = 0
    await this.#retry(position, async () => {
      if (filled === target.length) return
      const rest = target.subarray(filled)
      const start = position + filled
      await this.#ask(start, start + rest.length, rest, (bytes) => (filled += bytes))
    })
  }

  async #retry(position: number, attempt: () => Promise<void>): Promise<void> {
    const { retries, waitMs } = this.#patience
    const { default: retry } = await import(/* webpackMode: "eager" */ 'p-retry')
    try {
      await retry(attempt, {
        retries,
        minTimeout: waitMs,
        maxTimeout: MAX_WAIT_MS,
        randomize: true,
        signal: this.#closed.signal,
        shouldRetry: ({ error }) => error instanceof PassingError,
        onFailedAttempt: async ({ error, retriesLeft }) => {
          if (!(error instanceof PassingError) || error.waitMs === 0 || retriesLeft === 0) return
          await this.#wait(Math.min(error.waitMs, MAX_ASKED_WAIT_MS))
        },
      })
    } catch (error) {
      if (!(error instanceof PassingError)) throw error
      const what = `expected bytes of the file within ${retries + 1} tries, found ${error.message}`
      throw remoteError(what, this.name, position, error)
    }
  }

  /** @throws PassingError for what may be gone the next time */
  async #ask(start: number, end: number, target: Uint8Array, received: (bytes: number) => void): Promise<Answer> {
    const place = await this.#located()
    const answer = await this.#request(place.address, { start, end, target, received })
    if (answer.status === 206 || (answer.status === 416 && start === 0)) return answer
    if (isRedirect(answer)) {
      this.#place = Promise.resolve(this.#follow(place, answer))
      return await this.#ask(start, end, target, received)
    }
    const passing = passingStatus(answer)
    if (passing) throw passing
    const mayExpire = place.redirects > 0 || (place.address.expires === true && this.#pinned !== undefined)
    if (mayExpire && EXPIRED_STATUSES.includes(answer.status)) {
      this.#place = undefined
      throw new PassingError(`status ${answer.status} of an address that had been given`)
    }
    throw this.#refused(answer, start)
  }

  async #request(
    { url, headers }: Address,
    range: { start: number; end: number; target: Uint8Array; received: (bytes: number) => void },
  ): Promise<Answer> {
    const { etag } = this.#pinned ?? {}
    const strong = etag !== undefined && !etag.startsWith('W/') ? { 'if-match': etag } : {}
    try {
      return await requestRange({
        url,
        headers: { ...headers, ...strong },
        ...range,
        check: (answer) => this.#check(answer, range.start, range.end),
        stallMs: this.#patience.stallMs,
        signal: this.#closed.signal,
      })
    } catch (error) {
      if (error instanceof AprError || this.#closed.signal.aborted) throw error
      throw new PassingError(reasonOf(error), 0, error)
    }
  }

  /**
   * @returns bytes that the body has
   * @throws AprError for a part of another file, or another part
   */
  #check(answer: Answer, start: number, end: number): number {
    const { status, headers } = answer
    if (status === 412) throw this.#changed('another one', start)
    if (status !== 206) return 0
    const encoding = headers['content-encoding'] ?? 'identity'
    if (encoding !== 'identity') {
      throw remoteError(`expected bytes as they are in the file, found them encoded as ${encoding}`, this.name, start)
    }
    const range = headers['content-range'] ?? 'none'
    const [first, last, size] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(range) ?? []).slice(1).map(Number)
    const expected = Math.min(end, this.#pinned?.size ?? size ?? end)
    if (first !== start || last !== expected - 1 || size === undefined) {
      const what = `expected bytes ${start} to ${end - 1}, with a Content-Range that says so and how many there are, found ${range}`
      throw remoteError(what, this.name, start)
    }
    this.#pin(answer, size)
    return expected - start
  }

  /** Remembers what the file is, or checks that it still is. */
  #pin({ headers }: Answer, size: number): void {
    // A commit names the content for ever, and copies of it may have ETags of their own.
    const isPinned = this.#locator.version !== undefined
    const found: Pinned = isPinned
      ? { size, etag: undefined, lastModified: undefined }
      : { size, etag: headers['etag'], lastModified: headers['last-modified'] }
    const pinned = (this.#pinned ??= found)
    if (pinned.size !== size) throw this.#changed(`one of ${size} bytes`, 0)
    if (pinned.etag !== found.etag) throw this.#changed(`the ETag ${found.etag ?? 'none'}`, 0)
    if (pinned.etag === undefined && pinned.lastModified !== found.lastModified) throw this.#changed('a newer one', 0)
  }

  #located(): Promise<Place> {
    this.#place ??= this.#locator.locate().then((address) => ({ address, redirects: 0 }))
    return this.#place
  }

  /** Where a redirect leads. What is secret goes to no other host, and no open way. */
  #follow({ address: from, redirects }: Place, { status, headers }: Answer): Place {
    const { location = '' } = headers
    const to = URL.canParse(location, from.url) ? new URL(location, from.url) : undefined
    const before = new URL(from.url)
    if (!to || (before.protocol === 'https:' && to.protocol !== 'https:') || !/^https?:$/.test(to.protocol)) {
      throw remoteError(`expected a redirect to another https URL, found status ${status} to none`, this.name)
    }
    if (redirects >= MAX_REDIRECTS)
      throw remoteError(`expected at most ${MAX_REDIRECTS} redirects, found more`, this.name)
    const isSame = to.origin === before.origin
    const address = { url: to.href, headers: isSame ? from.headers : withoutCredentials(from.headers) }
    return { address, redirects: redirects + 1 }
  }

  #refused(answer: Answer, offset: number): AprError {
    const hint = this.#locator.explain?.(answer)
    const isWhole = answer.status === 200
    const what = isWhole
      ? 'expected a server that answers ranges, found one that sends the whole file'
      : `expected status 206, found ${answer.status}`
    return remoteError(hint === undefined ? what : `${what}: ${hint}`, this.name, offset)
  }

  #changed(found: string, offset: number): AprError {
    const what = `the input changed while it was read: expected the file that was opened, found ${found}`
    return new AprError('APR_SOURCE_CHANGED', what, { file: this.name, offset })
  }

  async #wait(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closed.signal }).catch(() => undefined)
  }
}

function isRedirect({ status, headers }: Answer): boolean {
  return [301, 302, 303, 307, 308].includes(status) && headers['location'] !== undefined
}

function withoutCredentials(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const names = Object.keys(headers).filter(
    (name) => !/^(authorization|cookie|proxy-authorization|x-.*(key|token).*)$/i.test(name),
  )
  return Object.fromEntries(names.map((name) => [name, headers[name] ?? '']))
}

/** In words that mean something to a user. */
function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: string; message: string }
  return code === undefined || message.includes(code) ? message : `${message} (${code})`
}

function defined<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }
}
