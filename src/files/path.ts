/** Paths as callers give them: text, or a `file:` URL as `import.meta.url` leads to one. */
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

function refused(what: string, value: string, cause?: unknown): AprError {
  const expected = `expected ${what} to be a path or a file: URL, found ${value}`
  return new AprError('APR_BAD_OPTION', expected, {}, cause === undefined ? undefined : { cause })
}
