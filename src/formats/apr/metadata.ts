/**
 * The metadata: a JSON object, kept as text. `1000000.0`, `1e-06` and integers over 2^53 do not survive JSON.parse and
 * JSON.stringify, so only the values that change are replaced; every other byte is carried over.
 */
import { AprError, printable } from '../../model/errors.js'
import { found, isFields } from '../../model/found.js'
import { utf8Bytes } from '../../model/utf8.js'
import type { MetadataEntry } from '../format.js'
import { findMembers, type Member } from './json-members.js'

/**
 * Bytes of metadata that a reader accepts: the largest vocabularies in use (256 k tokens with their merges) take about
 * 12 MB, so this is five times what is known, and a hostile file cannot ask for more.
 */
export const MAX_METADATA_BYTES = 64 * 1024 * 1024
/**
 * Decodes and checks the metadata section.
 * @returns the text, as it stands in the file
 * @throws AprError `APR_BAD_METADATA` when it is not UTF-8 or not one JSON object
 */
export function decodeMetadata(bytes: Uint8Array): string {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw new AprError('APR_BAD_METADATA', 'expected metadata in UTF-8, found bytes that are not', {}, { cause: error })
  }
  scan(text)
  return text
}

/**
 * The value of one top-level key, parsed; undefined where the key is missing. Of a key that is there twice the last
 * one counts.
 */
export function metadataValue(text: string, key: string): unknown {
  const member = scan(text).findLast((candidate) => candidate.key === key)
  return member && (JSON.parse(text.slice(member.valueStart, member.valueEnd)) as unknown)
}

/**
 * The members of the object that a top-level key's value is, in the order of the text: JavaScript's own objects move keys
 * that look like numbers to their front. Undefined where the value is no object or the key is missing.
 * @throws AprError `APR_BAD_METADATA`, `APR_LIMIT`
 */
export function metadataEntries(text: string, key: string): Map<string, unknown> | undefined {
  const member = scan(text).findLast((candidate) => candidate.key === key)
  if (member === undefined || text[member.valueStart] !== '{') return undefined
  const value = text.slice(member.valueStart, member.valueEnd)
  return new Map(
    findMembers(value).map(({ key: name, valueStart, valueEnd }) => {
      return [name, JSON.parse(value.slice(valueStart, valueEnd)) as unknown]
    }),
  )
}

/** Characters of a value that is shown whole: a vocabulary takes megabytes. */
const SHOWN_CHARACTERS = 2000

/** The top-level keys with their values, long ones left out. */
export function describeMetadata(text: string): MetadataEntry[] {
  return scan(text).map(({ key, valueStart, valueEnd }) => {
    const first = text[valueStart] ?? ''
    const type =
      { '{': 'object', '[': 'array', '"': 'string', t: 'boolean', f: 'boolean', n: 'null' }[first] ?? 'number'
    const length = valueEnd - valueStart
    if (length > SHOWN_CHARACTERS) return { key, type, length }
    return { key, type, value: JSON.parse(text.slice(valueStart, valueEnd)) as unknown }
  })
}

/**
 * Replaces or adds top-level keys, and removes those whose new value is undefined.
 * @returns the new text: all that is not named in `changes` is byte for byte what it was
 * @throws AprError `APR_BAD_METADATA` when the text is not one JSON object
 */
export function editMetadata(text: string, changes: Readonly<Record<string, unknown>>): string {
  const removed = findRemovals(scan(text), changes)
  if (removed.length > 0) return editMetadata(applyEdits(text, removed), changes)
  return applyEdits(text, findEdits(text, changes))
}

/**
 * Bytes that `editMetadata` would give, without making the text: with a vocabulary in it, it takes more memory than all
 * the rest of a plan. For changes that remove nothing.
 */
export function editedMetadataBytes(text: string, changes: Readonly<Record<string, unknown>>): number {
  return findEdits(text, changes).reduce(
    (sum, { start, end, content }) => sum + utf8Bytes(content) - utf8Bytes(text.slice(start, end)),
    utf8Bytes(text),
  )
}

interface Edit {
  readonly start: number
  readonly end: number
  readonly content: string
}

/** What to replace by what, in the order of the text. */
function findEdits(text: string, changes: Readonly<Record<string, unknown>>): Edit[] {
  const members = new Map(scan(text).map((member) => [member.key, member]))
  const edits: Edit[] = []
  const added: string[] = []
  for (const [key, value] of Object.entries(changes)) {
    const member = members.get(key)
    if (value === undefined) continue
    if (member) edits.push({ start: member.valueStart, end: member.valueEnd, content: toJson(key, value) })
    else added.push(`${JSON.stringify(key)}:${toJson(key, value)}`)
  }
  if (added.length > 0) {
    let start = text.lastIndexOf('}')
    while (' \t\n\r'.includes(text[start - 1] ?? '-')) start--
    edits.push({ start, end: start, content: (members.size > 0 ? ',' : '') + added.join(',') })
  }
  return edits.sort((a, b) => a.start - b.start)
}

/** The JSON of a value. What JSON cannot hold, it would make null or leave out: that is an error here. */
function toJson(key: string, value: unknown): string {
  const refuse = (what: string, cause?: unknown): AprError =>
    new AprError('APR_BAD_METADATA', `expected a JSON value for "${printable(key)}", found ${what}`, {}, { cause })
  function check(this: unknown, _name: string, part: unknown): unknown {
    const isLeftOut = part === undefined && !Array.isArray(this)
    const isScalar = part === null || typeof part === 'string' || typeof part === 'boolean' || Number.isFinite(part)
    if (isLeftOut || isScalar || Array.isArray(part) || isFields(part)) return part
    throw refuse(found(part))
  }
  try {
    return JSON.stringify(value, check)
  } catch (cause) {
    throw cause instanceof AprError ? cause : refuse('one that JSON cannot hold', cause)
  }
}

/** What to cut out so that the members whose new value is undefined are gone, each with a comma beside it. */
function findRemovals(members: readonly Member[], changes: Readonly<Record<string, unknown>>): Edit[] {
  const goes = ({ key }: Member): boolean => Object.hasOwn(changes, key) && changes[key] === undefined
  const edits: Edit[] = []
  let lastKept: Member | undefined
  members.forEach((member, i) => {
    if (!goes(member)) {
      lastKept = member
      return
    }
    const next = members[i + 1]
    edits.push({ start: member.keyStart, end: next?.keyStart ?? member.valueEnd, content: '' })
  })
  const last = members.at(-1)
  if (!last || !goes(last)) return edits
  // What follows the last member that stays goes in one piece, with the comma behind that member.
  const start = lastKept?.valueEnd ?? members[0]?.keyStart ?? 0
  return [...edits.filter((edit) => edit.start < start), { start, end: last.valueEnd, content: '' }]
}

function applyEdits(text: string, edits: readonly Edit[]): string {
  let edited = ''
  let position = 0
  for (const { start, end, content } of edits) {
    edited += text.slice(position, start) + content
    position = end
  }
  return edited + text.slice(position)
}

/** The text that was parsed last: a vocabulary makes it many megabytes, and it is looked into more than once. */
let last: { readonly text: string; readonly members: readonly Member[] } | undefined

/** Checks the text and finds the members of its object. */
function scan(text: string): readonly Member[] {
  if (last?.text !== text) last = { text, members: findMembers(text) }
  return last.members
}
