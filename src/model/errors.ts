/** What went wrong, for programs. The message says it for people. */
export type AprErrorCode =
  | 'APR_BAD_MAGIC'
  | 'APR_BAD_HEADER'
  | 'APR_BAD_METADATA'
  | 'APR_BAD_INDEX'
  | 'APR_BAD_PADDING'
  | 'APR_TRUNCATED'
  | 'APR_BAD_CRC'
  | 'APR_LIMIT'
  | 'APR_UNSUPPORTED'
  | 'APR_BAD_RECORD'
  | 'APR_BAD_VALUE'
  | 'APR_EXISTS'
  | 'APR_BUSY'
  | 'APR_SAME_FILE'
  | 'APR_NO_SPACE'
  | 'APR_BAD_OPTION'
  | 'APR_STRICT'
  | 'APR_WORKER'
  | 'APR_REUSED'
  | 'APR_SOURCE_CHANGED'
  | 'APR_PARTS_MISSING'
  | 'APR_REMOTE'
  | 'APR_QUEUE'

/** Where an error was found. Every part that is known is also a field of the error. */
export interface ErrorPlace {
  /** Path or URL of the file. */
  file?: string | undefined
  /** Name of the tensor, as it stands in the file. */
  tensor?: string | undefined
  /** Index of the element inside the tensor, rows one after the other. */
  element?: number | undefined
  /** The offending value of that element. */
  value?: number | undefined
  /** Byte offset in the file. */
  offset?: number | undefined
}

/** An error as plain data, for JSON and for another thread: what is known of it. */
export interface AprErrorJson {
  code: AprErrorCode
  message: string
  file?: string | undefined
  tensor?: string | undefined
  element?: number | undefined
  /** As a string: JSON has no NaN and no infinity. */
  value?: string | undefined
  offset?: number | undefined
}

/**
 * The one error class of this package. `message` says what was expected, what was found and where; `code` is for
 * programs. Options of the library that it speaks of stand in backticks. Errors of the file system keep their own class
 * and code (`ENOENT`, `EACCES`, ...).
 */
export class AprError extends Error {
  override readonly name = 'AprError'
  readonly code: AprErrorCode
  readonly file: string | undefined
  readonly tensor: string | undefined
  readonly element: number | undefined
  readonly value: number | undefined
  readonly offset: number | undefined
  /** The message without the place. */
  readonly what: string

  constructor(code: AprErrorCode, what: string, place: ErrorPlace = {}, options?: ErrorOptions) {
    super(what + describe(place), options)
    this.code = code
    this.what = what
    this.file = place.file
    this.tensor = place.tensor
    this.element = place.element
    this.value = place.value
    this.offset = place.offset
  }

  /** The same error, with the parts of the place that were not known where it was thrown. */
  at(place: ErrorPlace): AprError {
    const cause = 'cause' in this ? { cause: this.cause } : undefined
    const located = new AprError(this.code, this.what, { ...place, ...placeOf(this) }, cause)
    // Where it was thrown, not where its place was added.
    if (this.stack !== undefined) located.stack = this.stack.replace(this.message, () => located.message)
    return located
  }

  /** The error as plain data: `JSON.stringify` calls this, and `structuredClone` and `postMessage` take what it gives. */
  toJSON(): AprErrorJson {
    const { code, message, value } = this
    return { code, message, ...placeOf(this), ...(value !== undefined && { value: String(value) }) } as AprErrorJson
  }
}

/** The parts of an error's place that are known. */
function placeOf({ file, tensor, element, value, offset }: AprError): ErrorPlace {
  const parts = Object.entries({ file, tensor, element, value, offset })
  return Object.fromEntries(parts.filter((part) => part[1] !== undefined))
}

/** What a job rejects with that its signal has ended: Node's own kind, the signal's reason as its cause. */
export function abortError(signal: AbortSignal): Error {
  const error = new Error('The operation was aborted', { cause: signal.reason as unknown })
  return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' })
}

/** @throws an `AbortError` when the signal is aborted */
export function checkNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal)
}

/** Runs `work`; an AprError that it throws gets `place` added. */
export function located<T>(place: ErrorPlace, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw error instanceof AprError ? error.at(place) : error
  }
}

/** The system's errors about an open file name neither the file nor the place in it: adds both to the same error. */
export function locateSystemError(error: unknown, path: string, offset: number | undefined): unknown {
  if (!(error instanceof Error) || error instanceof AprError || 'path' in error) return error
  error.message += describe({ file: path, offset })
  return Object.assign(error, { path, ...(offset !== undefined && { offset }) })
}

/**
 * Text from a file, made safe to show: control characters, terminal escapes and characters that reorder text become
 * `\u{..}`, and a long text is cut. A tensor name is data and may hold anything.
 */
export function printable(text: string, maxLength = 200): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}...` : text
  return cut.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  )
}

function describe({ file, tensor, element, offset }: ErrorPlace): string {
  const parts: string[] = []
  if (tensor !== undefined) parts.push(`tensor "${printable(tensor)}"`)
  if (element !== undefined) parts.push(`element ${element}`)
  if (offset !== undefined) parts.push(`byte ${offset}`)
  if (file !== undefined) parts.push(`file ${printable(file, 1000)}`)
  return parts.length > 0 ? ` (${parts.join(', ')})` : ''
}
