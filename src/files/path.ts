/** Paths as callers give them: text, or a `file:` URL as `import.meta.url` leads to one. */
import { dirname, isAbsolute, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AprError } from '../model/errors.js'
import { found, isUrl } from '../model/found.js'
import { remoteAddress } from '../remote/address.js'

/**
 * The path that a text or a `file:` URL names.
 * @param what names the argument in messages
 * @throws AprError `APR_BAD_OPTION` for an empty text, another URL, and anything else
 */
export function toPath(what: string, value: unknown): string {
  if (remoteAddress(value)) throw refused(what, found(value))
  if (typeof value === 'string' && value !== '') return value
  if (isUrl(value) && value.protocol === 'file:') {
    try {
      return fileURLToPath(value.href)
    } catch (cause) {
      // A host, or a separator that is escaped, which is no part of a name.
      throw refused(what, `${found(value)}: ${(cause as Error).message}`, cause)
    }
  }
  throw refused(what, found(value))
}

/**
 * The same of what is only read, which may be somewhere else: a URL as it is.
 * @throws AprError `APR_BAD_OPTION` as `toPath`
 */
export function toInput(what: string, value: unknown): string {
  return remoteAddress(value)?.url ?? toPath(what, value)
}

/** A path as it was given, and as it was meant then: the process may work in another folder when it is opened. */
export interface FilePath {
  readonly given: string
  readonly absolute: string
}

/**
 * The path that a text or a `file:` URL names, fixed.
 * @throws AprError `APR_BAD_OPTION` as `toPath`
 */
export function fixPath(what: string, value: unknown): FilePath {
  const given = toPath(what, value)
  return { given, absolute: absolutePath(given) }
}

/** The folder that an input stands in; undefined for one that is no local file. */
export function besideOf(input: unknown): string | undefined {
  const isPath = (typeof input === 'string' || isUrl(input)) && !remoteAddress(input)
  return isPath ? dirname(absolutePath(toPath('the input', input))) : undefined
}

export function isFilePath(value: unknown): value is FilePath {
  return typeof value === 'object' && value !== null && 'given' in value && 'absolute' in value
}

/** Unlike `resolve`, leaves `..` behind a link to the system, and a slash at the end. */
export function absolutePath(path: string): string {
  if (process.platform === 'win32') return resolve(path)
  return isAbsolute(path) ? path : process.cwd() + sep + path
}

function refused(what: string, value: string, cause?: unknown): AprError {
  const expected = `expected ${what} to be a path or a file: URL, found ${value}`
  return new AprError('APR_BAD_OPTION', expected, {}, cause === undefined ? undefined : { cause })
}
