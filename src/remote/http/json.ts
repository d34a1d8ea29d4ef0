/** Small answers in JSON, as of an API. */
import { AprError } from '../../model/errors.js'
import { remoteError } from '../address.js'
import type { Address } from './locator.js'
import { PassingError, passingStatus } from './passing.js'
import type { Patience } from './ranges.js'
import { get, type Answer } from './get.js'

/** More than any list of files has. */
const MAX_BYTES = 64 * 1024 * 1024

export interface JsonRequest {
  readonly address: Address
  /** For messages, without secrets. */
  readonly name: string
  readonly patience: Patience
  readonly explain: (answer: Answer) => string | undefined
}

export interface JsonAnswer {
  readonly body: unknown
  readonly answer: Answer
  /** Whether there is nothing at the address. */
  readonly isMissing: boolean
}

/** @throws AprError `APR_REMOTE` for any status but 200 and 404, and for what is no JSON */
export async function requestJson({ address, name, patience, explain }: JsonRequest): Promise<JsonAnswer> {
  const { default: retry } = await import(/* webpackMode: "eager" */ 'p-retry')
  const { retries = 8, waitMs = 250, stallMs = 15_000 } = patience
  const attempt = async (): Promise<JsonAnswer> => {
    const chunks: Buffer[] = []
    let bytes = 0
    const answer = await get({
      ...{ url: address.url, headers: { accept: 'application/json', ...address.headers }, stallMs },
      onAnswer: () => undefined,
      onData(chunk) {
        bytes += chunk.length
        if (bytes > MAX_BYTES) throw remoteError(`expected an answer of at most ${MAX_BYTES} bytes, found more`, name)
        chunks.push(chunk)
        return true
      },
    }).catch((error: unknown) => {
      throw error instanceof AprError ? error : new PassingError((error as Error).message, 0, error)
    })
    const text = Buffer.concat(chunks).toString('utf8')
    const passing = passingStatus(answer)
    if (passing) throw passing
    const isMissing = answer.status === 404 && answer.headers['x-error-code'] !== 'RepoNotFound'
    if (answer.status !== 200 && !isMissing) throw refused(answer)
    return { body: isMissing ? undefined : parsed(text), answer, isMissing }
  }
  const refused = (answer: Answer): AprError => {
    const hint = explain(answer)
    return remoteError(`expected status 200, found ${answer.status}${hint === undefined ? '' : `: ${hint}`}`, name)
  }
  const parsed = (text: string): unknown => {
    try {
      return JSON.parse(text)
    } catch (cause) {
      throw remoteError('expected an answer in JSON, found something else', name, undefined, cause)
    }
  }
  try {
    const found = await retry(attempt, {
      retries,
      minTimeout: waitMs,
      randomize: true,
      shouldRetry: ({ error }) => error instanceof PassingError,
    })
    return found
  } catch (error) {
    if (!(error instanceof PassingError)) throw error
    throw remoteError(`expected an answer within ${retries + 1} tries, found ${error.message}`, name, undefined, error)
  }
}
