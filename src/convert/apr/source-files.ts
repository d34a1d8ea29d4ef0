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

/** The one file that is many megabytes, and as published a third of it spaces. */
const LARGE_FILE = 'tokenizer.json'

/**
 * Files as JSON, by name. They are as they stand there, but for the spaces between the values of tokenizer.json.
 */
export function fileValues(files: ReadonlyMap<string, Uint8Array>): Map<string, unknown> {
  return new Map(
    Array.from(files, ([name, bytes]) => [name, fileValue(name === LARGE_FILE ? withoutSpaces(bytes) : bytes)]),
  )
}

/** A file as JSON: its text, or what is no UTF-8 as `{ base64 }`. */
function fileValue(bytes: Uint8Array): unknown {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return { base64: toBase64(bytes) }
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const SPACES = [0x20, 0x0a, 0x0d, 0x09]

/** JSON without what stands between its values. */
function withoutSpaces(json: Uint8Array): Uint8Array {
  const result = new Uint8Array(json.length)
  let end = 0
  let isInString = false
  for (let at = 0; at < json.length; at++) {
    const byte = json[at] ?? 0
    if (!isInString && SPACES.includes(byte)) continue
    result[end++] = byte
    // The character behind a backslash ends nothing.
    if (isInString && byte === BACKSLASH && at + 1 < json.length) result[end++] = json[++at] ?? 0
    else if (byte === QUOTE) isInString = !isInString
  }
  return result.subarray(0, end)
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
