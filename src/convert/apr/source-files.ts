/**
 * The files beside a model's tensors, in the metadata of APR: what was read out of them is a part of what they say, and
 * the rest decides what a model made of it says.
 */
import { AprError, printable } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import { fromBase64, toBase64 } from './base64.js'

/** Keys of the metadata: files by name, and the name of the folder that they stood in. */
export const FILES_KEY = 'source_files'
export const FOLDER_KEY = 'source_folder'

/** A file as JSON: its text, or what is no UTF-8 as `{ base64 }`. */
export function fileValue(bytes: Uint8Array): unknown {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return { base64: toBase64(bytes) }
  }
}

/**
 * The files of `source_files`; undefined where there is no such key.
 * @throws AprError `APR_BAD_METADATA` for a value that holds no files
 */
export function filesOf(value: unknown): Map<string, Uint8Array> | undefined {
  if (value === undefined || value === null) return undefined
  if (!isFields(value)) throw refusal(FILES_KEY)
  const encoder = new TextEncoder()
  return new Map(
    Object.entries(value).map(([name, file]) => {
      if (typeof file === 'string') return [name, encoder.encode(file)]
      const { base64 } = isFields(file) ? file : {}
      const bytes = typeof base64 === 'string' ? fromBase64(base64) : undefined
      if (!bytes) throw refusal(name)
      return [name, bytes]
    }),
  )
}

function refusal(what: string): AprError {
  const message = `expected ${FILES_KEY} of the metadata to hold texts and base64, found something else as "${printable(what)}"`
  return new AprError('APR_BAD_METADATA', message)
}
