/** Paths as callers give them: text, or a `file:` URL as `import.meta.url` leads to one. */
import { dirname, isAbsolute, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AprError, printable } from '../model/errors.js'
import { found, isUrl } from '../model/found.js'
import { remoteAddress, withoutSecrets } from '../remote/address.js'
import { s3Place } from '../remote/s3/place.js'

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

/**
 * The same of an output, which may be an object in object storage: its URL as it is.
 * @throws AprError `APR_BAD_OPTION` as `toPath`, and for a URL of what cannot be written to
 */
export function toOutput(what: string, value: unknown): string {
  const remote = remoteAddress(value)
  if (!remote) return toPath(what, value)
  const plain = withoutSecrets(remote.url)
  const expected = `expected ${what} to be a path, a file: URL or s3://bucket/key`
  if (!/^s3:/i.test(plain)) throw new AprError('APR_BAD_OPTION', `${expected}, found ${printable(plain)}`)
  // What follows a ? would be taken for a secret in one place, and for a part of the key in another.
  if (plain !== remote.url) {
    throw new AprError('APR_BAD_OPTION', `${expected} without user and query, found one of ${printable(plain)}`)
  }
  const { key } = s3Place(plain)
  if (key !== '' && !key.endsWith('/')) return plain
  throw new AprError('APR_BAD_OPTION', `${expected}, the name of one object, found a folder, ${printable(plain)}`)
}

/** @throws AprError `APR_SAME_FILE` for an object that would replace itself; of files more is known, and is asked later */
export function refuseSameObject(input: unknown, output: string): void {
  const from = remoteAddress(input)
  if (!from || from.url !== output) return
  throw new AprError('APR_SAME_FILE', 'expected an output that is not the input, found the same object', {
    file: output,
  })
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
