/** Failures that pass: what they are, and how long to wait. */
import type { Answer } from './get.js'

/** Statuses after which the same request may succeed. */
export const PASSING_STATUSES: readonly number[] = [408, 425, 429, 500, 502, 503, 504]

/** A failure that may be gone when the same is asked for again. */
export class PassingError extends Error {
  /** Milliseconds that the other side asks to wait. */
  readonly waitMs: number

  constructor(message: string, waitMs = 0, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.waitMs = waitMs
  }
}

/** The failure that a status is, where it passes. */
export function passingStatus({ status, headers }: Answer): PassingError | undefined {
  return PASSING_STATUSES.includes(status) ? new PassingError(`status ${status}`, waitOf(headers)) : undefined
}

/** `Retry-After` in seconds or as a date; of the Hub the rest of its window, `RateLimit: "resolvers";r=0;t=42`. */
function waitOf(headers: Answer['headers']): number {
  const after = headers['retry-after']
  if (after !== undefined) {
    const ms = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now()
    if (ms > 0) return ms
  }
  const [, rest, seconds] = /\br=(\d+).*\bt=(\d+)/.exec(headers['ratelimit'] ?? '') ?? []
  return rest === '0' ? Number(seconds) * 1000 : 0
}
