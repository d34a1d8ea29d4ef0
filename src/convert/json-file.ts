import { AprError, printable } from '../model/errors.js'
import { found, isFields } from '../model/found.js'

/** An object of a JSON file, or undefined where there is no such file. */
export type JsonObject = Readonly<Record<string, unknown>>

/**
 * A JSON file of a model's folder, parsed.
 * @throws AprError `APR_BAD_METADATA` for other text, and for JSON that is no object
 */
export function jsonFile(files: ReadonlyMap<string, Uint8Array>, name: string): JsonObject | undefined {
  const text = textFile(files, name)
  return text === undefined ? undefined : parseObject(text, name)
}

/** @throws AprError `APR_BAD_METADATA` for text that is no JSON object */
export function parseObject(text: string, name: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const what = `expected ${name} to be JSON, found other text: ${printable((cause as Error).message)}`
    throw new AprError('APR_BAD_METADATA', what, {}, { cause })
  }
  if (isFields(value)) return value
  throw new AprError('APR_BAD_METADATA', `expected ${name} to be an object, found ${found(value)}`)
}

/** @throws AprError `APR_BAD_METADATA` for bytes that are no UTF-8 */
export function textFile(files: ReadonlyMap<string, Uint8Array>, name: string): string | undefined {
  const bytes = files.get(name)
  return bytes && utf8Text(bytes, name)
}

/** @throws AprError `APR_BAD_METADATA` for bytes that are no UTF-8 */
export function utf8Text(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new AprError('APR_BAD_METADATA', `expected ${name} to be UTF-8, found other bytes`, {}, { cause })
  }
}
