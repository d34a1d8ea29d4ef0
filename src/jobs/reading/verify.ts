import { AprError, checkNotAborted } from '../../model/errors.js'
import type { ByteSource } from '../../model/byte-source.js'
import { release } from '../../records/buffers.js'
import { openModel } from '../../streams/open-input.js'
import { READ_OPTIONS } from '../../options/table.js'
import { readOpened } from '../../streams/reader.js'
import type { FormatName } from '../../model/model.js'
import { openToRead, type ReadOptions } from './input.js'

export interface Verification {
  readonly file: string
  /** Undefined where that could not be told. */
  readonly format: FormatName | undefined
  /** Whether nothing is wrong. A file without a checksum can be good. */
  readonly ok: boolean
  /** Bytes of all its files. */
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
 * Reads a whole model of any format and checks all of it: structure, padding, scales of quantized tensors, checksum. Takes constant
 * memory.
 *
 * @param input a path of a file or folder, a `file:` URL, or a ByteSource, which is closed at the end
 * @throws the file system's own errors; what is wrong with the file is in the result
 * @throws AprError `APR_BAD_OPTION`
 * @throws an `AbortError` when `signal` ends the work
 */
export async function verify(input: string | URL | ByteSource, options: ReadOptions = {}): Promise<Verification> {
  const {
    input: source,
    options: { signal },
  } = await openToRead(input, options, READ_OPTIONS)
  const found: Found = { file: source.name, format: undefined, size: source.file?.size ?? 0, verified: 0, tensors: 0 }
  let hasFooter: boolean | undefined
  try {
    const opened = await openModel(source)
    found.size = opened.size
    found.format = opened.model.format
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
    const isFooter = error.code === 'APR_BAD_CRC' && hasFooter === true && found.verified === found.tensors
    const unread = hasFooter === false ? 'none' : 'unchecked'
    return { ...found, ok: false, footer: isFooter ? 'wrong' : unread, error }
  }
}

/** What is known already. */
interface Found {
  readonly file: string
  format: FormatName | undefined
  size: number
  verified: number
  tensors: number
}
