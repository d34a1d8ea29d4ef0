/** A key of the metadata as a line of text. */
import type { MetadataEntry } from '../formats/format.js'
import { printable } from '../model/errors.js'
import { count } from './output.js'

/** Values longer than this are cut: a vocabulary takes megabytes. */
const SHOWN_VALUE_CHARACTERS = 100

export function metadataLine({ key, type, value, length }: MetadataEntry): string {
  const name = `${printable(key)} (${type})`
  if (value === undefined) return `${name}: ${count(length ?? 0)} characters`
  const text = valueText(value)
  return length === undefined ? `${name}: ${text}` : `${name}: ${count(length)} elements: ${text}`
}

/** A value as JSON, cut where it is long. */
export function valueText(value: unknown): string {
  const text = JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
  return printable(text, SHOWN_VALUE_CHARACTERS)
}
