/**
 * Vocabulary and merges out of the text of tokenizer.json, as the JSON that APR holds. Nothing of the two is decoded: as
 * values a vocabulary of 150,000 tokens takes several times the memory of its text.
 */
import { findMembers } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import { isFields } from '../../model/found.js'

export interface AddedToken {
  readonly content: string
  readonly id: number
}

export interface TokenizerTexts {
  /** `BPE`, `Unigram`, ... */
  readonly modelType: string | undefined
  readonly added: readonly AddedToken[]
  /** The tokens by id as a JSON array, and how many there are. */
  readonly vocabulary: { readonly json: string; readonly count: number } | undefined
  /** A JSON array of texts, two tokens with a space between them. */
  readonly merges: string | undefined
}

/** Ids above this are none of a tokenizer's: the list of tokens has a place for each. */
const MAX_TOKENS = 10_000_000
/** Of ids that have no token, as `apr import` calls them. */
const NO_TOKEN = '"<unk>"'

const STRING = String.raw`"(?:[^"\\]|\\.)*"`
const ENTRY = new RegExp(String.raw`\s*(${STRING})\s*:\s*(\d+)\s*[,}]`, 'y')
const PAIR = new RegExp(String.raw`[\s,]*\[\s*(${STRING})\s*,\s*(${STRING})\s*\]`, 'y')

/**
 * @param text of tokenizer.json
 * @param size rows that the model has for tokens, if it is known
 * @throws AprError `APR_BAD_METADATA` for a text that is no JSON object
 */
export function tokenizerTexts(text: string, size: unknown): TokenizerTexts {
  const file = membersOf(text.startsWith('\ufeff') ? text.slice(1) : text)
  const model = membersOf(file.get('model') ?? '{}')
  const added = addedTokens(parse(file.get('added_tokens')))
  const modelType = parse(model.get('type'))
  const merges = model.get('merges')
  return {
    modelType: typeof modelType === 'string' ? modelType : undefined,
    added,
    vocabulary: vocabularyOf(model.get('vocab') ?? '', added, idOf(size) ?? 0),
    merges: merges?.startsWith('[') === true ? mergesOf(merges) : undefined,
  }
}

/** A whole number that is not negative. */
export function idOf(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && Number(value) >= 0 ? Number(value) : undefined
}

/** The text of each member's value. */
function membersOf(text: string): Map<string, string> {
  if (!text.trimStart().startsWith('{') && text !== '') return new Map()
  const members = findMembers(text, 'tokenizer')
  return new Map(members.map(({ key, valueStart, valueEnd }) => [key, text.slice(valueStart, valueEnd)]))
}

function parse(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text)
}

function addedTokens(value: unknown): AddedToken[] {
  const tokens: readonly unknown[] = Array.isArray(value) ? value : []
  return tokens.filter(isFields).flatMap(({ content, id }) => {
    const number = idOf(id)
    return typeof content === 'string' && number !== undefined ? [{ content, id: number }] : []
  })
}

/** Pairs that are made one text at once: as many texts of their own would take more memory than all else. */
const PAIRS_AT_ONCE = 4096

/** Pairs of tokens as texts; what is texts already stays. */
function mergesOf(text: string): string {
  const chunks: string[] = []
  let pairs: string[] = []
  PAIR.lastIndex = 1
  for (let pair = PAIR.exec(text); pair; pair = PAIR.exec(text)) {
    const [, left = '', right = ''] = pair
    pairs.push(`${left.slice(0, -1)} ${right.slice(1)}`)
    if (pairs.length < PAIRS_AT_ONCE) continue
    chunks.push(pairs.join(','))
    pairs = []
  }
  if (pairs.length > 0) chunks.push(pairs.join(','))
  return chunks.length > 0 ? `[${chunks.join(',')}]` : text
}

/** As many tokens as the model has rows, or more where ids are higher. Undefined where the vocabulary has no ids. */
function vocabularyOf(
  text: string,
  added: readonly AddedToken[],
  size: number,
): { json: string; count: number } | undefined {
  if (!text.startsWith('{')) return undefined
  const tokens: string[] = []
  const put = (token: string, id: number): void => {
    if (id >= MAX_TOKENS) {
      const what = `expected ids of tokens below ${MAX_TOKENS}, found ${id}`
      throw new AprError('APR_LIMIT', what, { file: 'tokenizer.json' })
    }
    tokens[id] = token
  }
  ENTRY.lastIndex = 1
  for (let entry = ENTRY.exec(text); entry; entry = ENTRY.exec(text)) put(entry[1] ?? NO_TOKEN, Number(entry[2]))
  for (const { content, id } of added) put(JSON.stringify(content), id)
  const count = Math.max(tokens.length, Math.min(size, MAX_TOKENS))
  if (tokens.length === 0) return undefined
  return { json: `[${Array.from({ length: count }, (_, id) => tokens[id] ?? NO_TOKEN).join(',')}]`, count }
}
