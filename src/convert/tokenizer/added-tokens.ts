/**
 * The tokens that stand beside a vocabulary: those of `tokenizer.json`, as transformers changes them by what
 * `tokenizer_config.json` says.
 */
import { AprError, printable } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'
import type { Vocab } from './sources/vocab.js'

export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  /** Whether it is looked for in the text as normalizers make it. */
  readonly normalized: boolean
  /** Whether it takes the spaces beside it, and whether it is found inside words. */
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly singleWord: boolean
}

const NAMED = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map((type) => `${type}_token`)

/** `added_tokens` of tokenizer.json, as it stands there. */
export function fileTokens(tokenizer: JsonObject): AddedToken[] {
  const added = tokenizer['added_tokens']
  if (!Array.isArray(added)) return []
  return (added as unknown[]).flatMap((entry) => {
    const token = tokenOf(entry)
    return token && isFields(entry) && typeof entry['id'] === 'number' ? [{ ...token, id: entry['id'] }] : []
  })
}

function tokenOf(entry: unknown): AddedToken | undefined {
  if (!isFields(entry)) return undefined
  const { content, special, normalized, lstrip, rstrip, single_word: singleWord } = entry
  if (typeof content !== 'string') return undefined
  const flags = { lstrip: lstrip === true, rstrip: rstrip === true, singleWord: singleWord === true }
  return { id: -1, content, special: special === true, normalized: (normalized ?? special !== true) === true, ...flags }
}

export interface AddedSources {
  readonly tokenizer: JsonObject
  readonly settings: JsonObject
  /** Whether those of tokenizer.json count only where the settings list none. */
  readonly isRebuilt: boolean
  /** Whether all that the settings name and list are special, whatever they were. */
  readonly marksSpecial: boolean
}

/**
 * All tokens beside the vocabulary, with the ids that the library tokenizers gives them: that of the vocabulary, else the
 * next one.
 * @throws AprError `APR_BAD_METADATA` for a token with another id in the file: its row of the embedding is another one
 */
export function addedTokens(
  { tokenizer, settings, isRebuilt, marksSpecial }: AddedSources,
  vocab: Vocab | undefined,
): AddedToken[] {
  const all = new Map<string, AddedToken>()
  const size = vocab?.size ?? 0
  const add = (tokens: readonly AddedToken[]): void => {
    const largest = [...all.values()].reduce((max, { id }) => Math.max(max, id), -1)
    let next = Math.max(size, largest + 1)
    for (const token of tokens) {
      const known = all.get(token.content)?.id
      const id = known ?? vocab?.idOf(token.content) ?? next++
      if (token.id >= 0 && token.id !== id) throw misplaced(token, id)
      all.set(token.content, { ...token, id })
    }
  }
  const inFile = fileTokens(tokenizer)
  const listed = listedTokens(settings)
  if (!isRebuilt) add(inFile)
  const added = listed ?? inFile
  const flags = new Map(added.map((token) => [token.content, token]))
  const extra = extraTokens(settings).filter(({ content }) => !all.has(content) && !flags.has(content))
  add([...added, ...namedTokens(settings, flags), ...extra])
  if (marksSpecial) add([...specialTexts(settings)].map(plainToken))
  return [...all.values()]
}

/** `added_tokens_decoder` of the settings, by id. */
function listedTokens({ added_tokens_decoder: decoder }: JsonObject): AddedToken[] | undefined {
  if (!isFields(decoder)) return undefined
  const tokens = Object.entries(decoder).flatMap(([id, entry]) => {
    const token = tokenOf(entry)
    return token ? [{ ...token, id: Number(id) }] : []
  })
  return tokens.sort((a, b) => a.id - b.id)
}

/** Those that the settings name: as special ones, whatever they were. */
function namedTokens(settings: JsonObject, flags: ReadonlyMap<string, AddedToken>): AddedToken[] {
  const more = Object.keys(settings).filter((key) => key.endsWith('_token') && !NAMED.includes(key))
  const { extra_special_tokens: extra } = settings
  const own = [...more.map((key) => settings[key]), ...(isFields(extra) ? Object.values(extra) : [])]
  const named = NAMED.flatMap((key) => specialToken(settings[key]) ?? [])
  return [
    ...named.map((token) => ({ ...token, ...flags.get(token.content), id: -1, special: true })),
    ...own.flatMap((value) => (typeof value === 'string' ? plainToken(value) : [])),
  ]
}

/** Those that the settings list: they change none that is there. */
function extraTokens({ extra_special_tokens: extra, additional_special_tokens: additional }: JsonObject): AddedToken[] {
  const listed: unknown = (Array.isArray(extra) && extra.length > 0) || isFields(extra) ? extra : additional
  return Array.isArray(listed) ? listed.flatMap((value) => specialToken(value) ?? []) : []
}

function specialToken(value: unknown): AddedToken | undefined {
  const token = typeof value === 'string' ? plainToken(value) : tokenOf(value)
  return token && { ...token, special: true }
}

function plainToken(content: string): AddedToken {
  return { id: -1, content, special: true, normalized: false, lstrip: false, rstrip: false, singleWord: false }
}

/** Texts of the tokens that the settings name. */
export function specialTexts(settings: JsonObject): Set<string> {
  return new Set([...namedTokens(settings, new Map()), ...extraTokens(settings)].map(({ content }) => content))
}

function misplaced({ id, content }: AddedToken, right: number): AprError {
  const what = `expected the added token "${printable(content)}" to have the id ${right}, the next one, found ${id}`
  return new AprError('APR_BAD_METADATA', what)
}
