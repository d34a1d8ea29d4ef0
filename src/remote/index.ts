/** `apr-stream/remote`: sources for what is somewhere else, made by hand. Everywhere else their URLs do. */
import type { ByteSource } from '../model/byte-source.js'
import { AprError, printable } from '../model/errors.js'
import { remoteAddress, withoutSecrets } from './address.js'
import { openRemoteSource, type RemoteOptions } from './remote-input.js'

export type { Patience } from './http/ranges.js'
export type { RemoteOptions } from './remote-input.js'
export type { ByteSource } from '../model/byte-source.js'

/**
 * Opens a file by its URL, `https:`, `hf:` or `s3:`, for readers and jobs, which close it. What is read is always of the file
 * that was opened: a change of it is an error.
 * @throws AprError `APR_BAD_OPTION` for another URL, `APR_REMOTE` for a file that cannot be had, or not by ranges
 */
export async function remoteSource(url: string | URL, options: RemoteOptions = {}): Promise<ByteSource> {
  const address = remoteAddress(url)
  if (address) return await openRemoteSource(address, options)
  const found = printable(withoutSecrets(String(url)))
  throw new AprError('APR_BAD_OPTION', `expected a URL with https:, hf: or s3:, found "${found}"`)
}
