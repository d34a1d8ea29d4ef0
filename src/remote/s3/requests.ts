/** Requests by the AWS SDK that are tried again by us, and what is said of those that fail. */
import { AprError, abortError, printable } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import { remoteError } from '../address.js'
import { PASSING_STATUSES, PassingError } from '../http/passing.js'
import type { Patience } from '../http/ranges.js'

/** Tries of uploads: they go on through the restart of a store. */
const PATIENCE = { retries: 8, waitMs: 250 }
const MAX_WAIT_MS = 20_000

/** With a status that says otherwise: bytes that were damaged on their way may come whole the next time. */
const PASSING_NAMES = ['BadDigest', 'XAmzContentChecksumMismatch', 'RequestTimeout', 'SlowDown', 'OperationAborted']
/** Of the SDK itself, before anything was asked for. */
const LOCAL_NAMES = ['CredentialsProviderError', 'TokenProviderError', 'TypeError', 'ReferenceError', 'SyntaxError']

const HINTS: Readonly<Record<string, string>> = {
  AccessDenied: 'these credentials may not do it',
  Forbidden: 'these credentials may not do it, or it is not there',
  CredentialsProviderError: 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE',
  ExpiredToken: 'the credentials have expired',
  InvalidAccessKeyId: 'the store does not know AWS_ACCESS_KEY_ID',
  NoSuchBucket: 'there is no such bucket',
  NoSuchUpload: 'the upload was aborted or completed by somebody else',
  PermanentRedirect: "the bucket is in another region: set AWS_REGION, or another store's: set AWS_ENDPOINT_URL_S3",
  SignatureDoesNotMatch: 'AWS_SECRET_ACCESS_KEY is not that of AWS_ACCESS_KEY_ID',
}

/** What the SDK tells of a failure. */
interface Failure {
  readonly name: string
  /** HTTP status; undefined where no answer came. */
  readonly status: number | undefined
  /** Of the system or of Node. */
  readonly code: string | undefined
}

export function failureOf(error: unknown): Failure {
  const { name, code, $metadata } = error as Error & { code?: unknown; $metadata?: unknown }
  const status = isFields($metadata) ? $metadata['httpStatusCode'] : undefined
  return {
    name: typeof name === 'string' ? name : 'Error',
    status: typeof status === 'number' ? status : undefined,
    code: typeof code === 'string' ? code : undefined,
  }
}

/** Whether a failure is of this name, or of this status without a name. */
export function isFailure(error: unknown, ...names: readonly string[]): boolean {
  return names.includes(failureOf(error).name)
}

/** @param what is done, as in "to put part 3" */
export interface Request<T> {
  readonly what: string
  /** Of the object. */
  readonly url: string
  readonly patience: Patience
  readonly signal?: AbortSignal | undefined
  /** Called when a try has failed in a way that may pass; what it throws ends the tries. */
  readonly onFailed?: (() => Promise<void>) | undefined
  readonly send: () => Promise<T>
}

/**
 * Does a request, again where its failure may pass.
 * @param isWanted whether a failure is an answer that the caller knows what to do with: it is thrown as it is
 * @throws AprError `APR_REMOTE`, and an `AbortError` when the signal ends it
 */
export async function request<T>(asked: Request<T>, isWanted: (error: unknown) => boolean = () => false): Promise<T> {
  const { url, signal, onFailed, send } = asked
  const { retries = PATIENCE.retries, waitMs = PATIENCE.waitMs } = asked.patience
  const { default: retry } = await import(/* webpackMode: "eager" */ 'p-retry')
  let passing: unknown
  const attempt = async (): Promise<T> => {
    try {
      return await send()
    } catch (error) {
      if (signal?.aborted === true) throw abortError(signal)
      if (error instanceof AprError || isWanted(error) || !passes(error)) throw asError(error)
      passing = error
      await onFailed?.()
      throw new PassingError(printable(failureOf(error).name))
    }
  }
  try {
    return await retry(attempt, {
      ...{ retries, minTimeout: waitMs, maxTimeout: MAX_WAIT_MS, randomize: true },
      shouldRetry: ({ error }) => error instanceof PassingError,
      ...(signal && { signal }),
    })
  } catch (error) {
    if (signal?.aborted === true) throw abortError(signal)
    if (error instanceof AprError || isWanted(error)) throw error
    const tries = error instanceof PassingError ? ` within ${retries + 1} tries` : ''
    throw describe(error instanceof PassingError ? passing : error, `${asked.what}${tries}`, url)
  }
}

/** The library that tries again takes a TypeError for a mistake in the program, and throws it by itself. */
function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function passes(error: unknown): boolean {
  const { name, status } = failureOf(error)
  if (PASSING_NAMES.includes(name)) return true
  return status === undefined ? !LOCAL_NAMES.includes(name) : PASSING_STATUSES.includes(status)
}

/** Names, statuses and codes only: what a server says in its own words may hold anything. */
function describe(error: unknown, what: string, url: string): AprError {
  const { name, status, code } = failureOf(error)
  const isAnswer = status !== undefined
  const found = printable(isAnswer || code === undefined ? name : code, 80)
  const hint = HINTS[name]
  return remoteError(
    `expected S3 ${what}, found ${found}${isAnswer ? ` (status ${status})` : ''}${hint === undefined ? '' : `: ${hint}`}`,
    url,
  )
}
