/** Addresses of what is not on this machine. */
import { AprError } from '../model/errors.js'
import { isUrl } from '../model/found.js'

const REMOTE = /^(https?|hf|s3):\/\//i

/** A URL as it was given; what it is a URL of is looked at when it is opened. */
export class RemoteAddress {
  readonly url: string

  constructor(url: string) {
    this.url = url
  }
}

/** The address that a text or a URL names; undefined for what is none, as a path. */
export function remoteAddress(value: unknown): RemoteAddress | undefined {
  const text = isUrl(value) ? value.href : value
  return typeof text === 'string' && REMOTE.test(text) ? new RemoteAddress(text) : undefined
}

/** A URL without what may be secret: the query of a signed one, a user and a password. A path stays as it is. */
export function withoutSecrets(url: string): string {
  if (!REMOTE.test(url)) return url
  return url.replace(/^([a-z0-9]+:\/\/)[^/?#]*@/i, '$1').replace(/[?#].*$/s, '')
}

/** The last part of a URL's path, as a file is named; '' where it ends with a slash. */
export function fileNameOf(url: string): string {
  const name = withoutSecrets(url).split('/').slice(3).at(-1) ?? ''
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

/** What cannot be had from where it is. */
export function remoteError(what: string, url: string, offset?: number, cause?: unknown): AprError {
  return new AprError(
    'APR_REMOTE',
    what,
    { file: withoutSecrets(url), offset },
    cause === undefined ? undefined : { cause },
  )
}
