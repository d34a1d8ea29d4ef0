/**
 * The metadata: a JSON object, kept as text. `1000000.0`, `1e-06` and integers over 2^53 do not survive JSON.parse and
 * JSON.stringify, so only the values that change are replaced; every other byte is carried over.
 */
import { applyEdits, printParseErrorCode, visit, type Edit, type ParseErrorCode } from 'jsonc-parser'
import { AprError } from '../../errors.js'

/** A member of the metadata object: where its value stands in the text. */
interface Member {
  readonly keyStart: number
  readonly valueStart: number
  readonly valueEnd: number
}

/**
 * Bytes of metadata that a reader accepts: the largest vocabularies in use (256 k tokens with their merges) take about
 * 12 MB, so this is five times what is known, and a hostile file cannot ask for more.
 */
export const MAX_METADATA_BYTES = 64 * 1024 * 1024
/** Levels of nesting that a reader accepts: the limit of the reference's JSON library. */
export const MAX_METADATA_DEPTH = 128

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
  const member = scan(text).get(key)
  return member && (JSON.parse(text.slice(member.valueStart, member.valueEnd)) as unknown)
}

/**
 * Replaces or adds top-level keys, and removes those whose new value is undefined.
 * @returns the new text: all that is not named in `changes` is byte for byte what it was
 * @throws AprError `APR_BAD_METADATA` when the text is not one JSON object
 */
export function editMetadata(text: string, changes: Readonly<Record<string, unknown>>): string {
  const members = scan(text)
  const edits: Edit[] = []
  const added: string[] = []
  for (const [key, value] of Object.entries(changes)) {
    const member = members.get(key)
    if (value === undefined) {
      if (member) return editMetadata(removeMember(text, key, members), changes)
    } else if (member) {
      const { valueStart: offset, valueEnd } = member
      edits.push({ offset, length: valueEnd - offset, content: toJson(key, value) })
    } else {
      added.push(`${JSON.stringify(key)}:${toJson(key, value)}`)
    }
  }
  if (added.length > 0) {
    const end = text.lastIndexOf('}')
    const content = (members.size > 0 ? ',' : '') + added.join(',')
    edits.push({ offset: text.slice(0, end).trimEnd().length, length: 0, content })
  }
  return applyEdits(text, edits)
}

function toJson(key: string, value: unknown): string {
  let json: unknown
  try {
    json = JSON.stringify(value)
  } catch (cause) {
    const what = `expected a JSON value for "${key}", found one that JSON cannot hold`
    throw new AprError('APR_BAD_METADATA', what, {}, { cause })
  }
  if (typeof json === 'string') return json
  throw new AprError('APR_BAD_METADATA', `expected a JSON value for "${key}", found ${typeof value}`)
}

/** Cuts one member out, with the comma that parts it from its neighbour. A repeated key comes back here again. */
function removeMember(text: string, key: string, members: Map<string, Member>): string {
  const member = members.get(key)
  if (member === undefined) return text
  const { keyStart, valueEnd } = member
  const after = /^\s*,\s*/.exec(text.slice(valueEnd))
  if (after) return text.slice(0, keyStart) + text.slice(valueEnd + after[0].length)
  return text.slice(0, keyStart).replace(/,\s*$/, '') + text.slice(valueEnd)
}

/** Parses the text, strictly, and finds the members of its object. Of a key that is there twice the last one counts. */
function scan(text: string): Map<string, Member> {
  const members = new Map<string, Member>()
  let depth = 0
  let isObject = false as boolean
  let key: { name: string; start: number } | undefined
  let valueStart = 0

  const open = (offset: number): void => {
    if (++depth > MAX_METADATA_DEPTH) {
      throw new AprError(
        'APR_LIMIT',
        `expected metadata nested at most ${MAX_METADATA_DEPTH} levels deep, found more at character ${offset}`,
      )
    }
    if (depth === 2) valueStart = offset
  }
  const close = (end: number): void => {
    if (--depth === 1) endValue(end)
  }
  const endValue = (end: number): void => {
    if (key) members.set(key.name, { keyStart: key.start, valueStart, valueEnd: end })
    key = undefined
  }

  visit(
    text,
    {
      onObjectBegin: (offset) => {
        if (depth === 0) isObject = true
        open(offset)
      },
      onObjectEnd: (offset, length) => close(offset + length),
      onArrayBegin: open,
      onArrayEnd: (offset, length) => close(offset + length),
      onObjectProperty: (name, offset) => {
        if (depth === 1) key = { name, start: offset }
      },
      onLiteralValue: (_value, offset, length) => {
        if (depth !== 1) return
        valueStart = offset
        endValue(offset + length)
      },
      onError: (code: ParseErrorCode, offset) => {
        throw new AprError(
          'APR_BAD_METADATA',
          `expected metadata to be valid JSON, found ${printParseErrorCode(code)} at character ${offset}`,
        )
      },
    },
    { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false },
  )
  if (!isObject) {
    throw new AprError('APR_BAD_METADATA', 'expected metadata to be a JSON object, found another JSON value')
  }
  return members
}
