/** Where a file is, as far as requests go: an address may expire, and another be given for the same file. */
import type { Answer } from './get.js'

export interface Locator {
  /** Of the file, without secrets. */
  readonly name: string
  /**
   * What names the content for ever, as a commit does; undefined where an answer's ETag has to.
   */
  readonly version?: string | undefined
  /** Where to ask; called again when an address no longer answers. */
  locate(): Promise<Address>
  /** What an answer that is no part of the file means, beside its status: a hint for people. */
  explain?(answer: Answer): string | undefined
}

export interface Address {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Whether it is good for a while only. */
  readonly expires?: boolean
}

/** A file by its plain URL. */
export function urlLocator(url: string, headers: Readonly<Record<string, string>>, name: string): Locator {
  const address = withoutUser(url, headers)
  return { name, locate: () => Promise.resolve(address) }
}

/** A user and a password in a URL are sent as such. */
function withoutUser(text: string, headers: Readonly<Record<string, string>>): Address {
  const url = new URL(text)
  if (url.username === '' && url.password === '') return { url: text, headers }
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
  url.username = ''
  url.password = ''
  const authorization = `Basic ${Buffer.from(credentials).toString('base64')}`
  return { url: url.href, headers: { authorization, ...headers } }
}
