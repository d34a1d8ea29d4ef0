/** Paths as callers give them: text, or a `file:` URL as `import.meta.url` leads to one. */
import { isAbsolute, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AprError } from '../model/errors.js'
import { found, isUrl } from '../model/found.js'

/**
 * The path that a text or a `file:` URL names.
 * @param what names the argument in messages
 * @throws AprError `APR_BAD_OPTION` for an empty text, another URL, and anything else
 */
export function toPath(what: string, value: unknown): string {
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
