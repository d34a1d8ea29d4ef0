import { AprError, checkNotAborted } from '../model/errors.js'
import type { ByteSource } from '../model/byte-source.js'
import { release } from '../records/buffers.js'
import { openModel } from '../streams/open-input.js'
import { READ_OPTIONS } from '../options/table.js'
import { readOpened } from '../streams/reader.js'
import { openToRead, type ReadOptions } from './input.js'

export interface Verification {
  readonly file: string
  /** Whether nothing is wrong. A file without a checksum can be good. */
  readonly ok: boolean
  /** Bytes of the file. */
  readonly size: number
  /** Numbers of tensors: those read in full, and those of the index. */
  readonly verified: number
  readonly tensors: number
  /** The checksum at the end: `none` in a file that has none, `unchecked` when something else was wrong before. */
  readonly footer: 'good' | 'wrong' | 'none' | 'unchecked'
  /** The first thing that is wrong. */
  readonly error: AprError | undefined
}

/**
 * Reads a whole file and checks all of it: structure, padding, scales of quantized tensors, checksum. Takes constant
 * memory.
 *
 * @param input a path, a `file:` URL, or a ByteSource, which is closed at the end
 * @throws the file system's own errors; what is wrong with the file is in the result
 * @throws AprError `APR_BAD_OPTION`
 * @throws an `AbortError` when `signal` ends the work
 */
export async function verify(input: string | URL | ByteSource, options: ReadOptions = {}): Promise<Verification> {
  const {
    input: source,
    options: { signal },
  } = await openToRead(input, options, READ_OPTIONS)
  const found = { file: source.name, size: source.file?.size ?? 0, verified: 0, tensors: 0 }
  let hasFooter = false
  try {
    const opened = await openModel(source)
    found.size = opened.size
    found.tensors = opened.tensors.length
    hasFooter = opened.hasChecksum
    for await (const { offset, data, size } of readOpened(opened)) {
      if (offset + data.length === size) found.verified++
      release(data)
      checkNotAborted(signal)
    }
    return { ...found, ok: true, footer: hasFooter ? 'good' : 'none', error: undefined }
  } catch (error) {
    if (!(error instanceof AprError)) throw error
    const isFooter = error.code === 'APR_BAD_CRC' && hasFooter && found.verified === found.tensors
    return { ...found, ok: false, footer: isFooter ? 'wrong' : 'unchecked', error }
  }
}
