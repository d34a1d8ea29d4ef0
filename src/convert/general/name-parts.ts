/** What a model's name tells: the parts of `organization/Base-name-8B-Instruct-v0.3`, as llama.cpp's gguf-py finds them. */

/** The parts of a name; undefined where it has none. A part may be the empty text. */
export interface NameParts {
  readonly name: string
  readonly organization: string | undefined
  readonly basename: string | undefined
  readonly finetune: string | undefined
  readonly version: string | undefined
  readonly sizeLabel: string | undefined
}

type Kind = 'basename' | 'sizeLabel' | 'finetune' | 'version' | 'type'

interface Part {
  text: string
  readonly kinds: Set<Kind>
}

const VERSION = /^(v|iter)?\d+([.]\d+)*$/iu
const QUANTIZATION = /^(i?q\d(_[\p{L}\p{N}_])*|b?fp?(16|32))$/iu
const SIZE = /^(((A|\d+x)?\d+([._]\d+)?[KMBT]\d?)|small|mini|medium|large|x?xl)$/iu
const FINETUNE = /^(chat|instruct|vision|lora)$/iu

/**
 * Takes a model's name apart.
 * @param id with its organization before a `/`, or without one
 * @param parameters of the model, by which a size in the name is believed or not; 0: unknown
 */
export function nameParts(id: string, parameters: number): NameParts {
  const none = { basename: undefined, finetune: undefined, version: undefined, sizeLabel: undefined }
  // A sentence is a name, and no id.
  if (id.includes(' ')) return { ...none, name: id, organization: undefined }
  const slash = id.indexOf('/')
  const name = id.slice(slash + 1)
  const before = slash < 0 ? undefined : id.slice(0, slash)
  // `./` and `../` lead to a folder.
  const organization = before?.startsWith('.') ? undefined : before

  const parts = name
    .split('-')
    .filter((text) => text !== '')
    .map((text): Part => ({ text, kinds: new Set() }))
  parts.forEach((part, i) => annotate(part, i > 0, parameters))
  dropWordSizes(parts)
  findBasename(parts)

  const joined = (kind: Kind, isOne = (part: Part) => part.kinds.has(kind)): string | undefined =>
    [...(kind === 'sizeLabel' ? new Set(texts(parts, isOne)) : texts(parts, isOne))].join('-') || undefined
  const sizeLabel = joined('sizeLabel')
  const finetune = joined('finetune')
  const version = joined('version', ({ kinds }) => kinds.has('version') && !kinds.has('basename'))
  // A name of one kind only could be anything.
  const isClear = sizeLabel !== undefined || finetune !== undefined || version !== undefined
  return { name, organization, basename: isClear ? joined('basename') : undefined, finetune, version, sizeLabel }
}

function texts(parts: readonly Part[], isOne: (part: Part) => boolean): string[] {
  return parts.filter(isOne).map(({ text }) => text)
}

function annotate(part: Part, isBehindFirst: boolean, parameters: number): void {
  const { text, kinds } = part
  if (VERSION.test(text)) {
    kinds.add('version')
  } else if (QUANTIZATION.test(text)) {
    kinds.add('type')
    part.text = text.toUpperCase()
  } else if (isBehindFirst && SIZE.test(text)) {
    const size = normalizedSize(text)
    const isBelieved = parameters === 0 || isNear(size, parameters)
    kinds.add(isBelieved ? 'sizeLabel' : 'finetune')
    // In lower case it is likely the length of a context: `8k`.
    part.text = isBelieved ? size : size.slice(0, -1) + size.slice(-1).toLowerCase()
  } else if (isBehindFirst && FINETUNE.test(text)) {
    kinds.add('finetune')
  }
}

/** `1_5b` is 1.5B, and `7b1` 7.1B. */
function normalizedSize(text: string): string {
  let size = text.replaceAll('_', '.')
  if (/\d$/u.test(size)) size = `${size.slice(0, -2)}.${size.slice(-1)}${size.slice(-2, -1)}`
  return /\d[kmbt]$/u.test(size) ? size.slice(0, -1) + size.slice(-1).toUpperCase() : size
}

/** Whether a size is that of a model with so many parameters, roughly; what is no number, as `8x7B`, is believed. */
function isNear(size: string, parameters: number): boolean {
  const digits = size.slice(0, -1)
  if (!/^\d+(\.\d+)?$/u.test(digits)) return true
  const told = Number(digits) * 1000 ** ' KMBT'.indexOf(size.slice(-1))
  return Math.abs(told - parameters) <= Math.floor((7 * parameters) / 8)
}

/** `large` says nothing beside `7B`. */
function dropWordSizes(parts: readonly Part[]): void {
  const sizes = parts.filter(({ kinds }) => kinds.has('sizeLabel'))
  if (!sizes.some(({ text }) => /\d/u.test(text))) return
  for (const { text, kinds } of sizes) if (/^\p{L}+$/u.test(text)) kinds.delete('sizeLabel')
}

/** The words and versions at the start are the basename, but for versions at its end; other words are the finetune. */
function findBasename(parts: readonly Part[]): void {
  let isAtStart = true
  for (const { text, kinds } of parts) {
    if (isAtStart && ((kinds.size === 0 && /^\p{L}/u.test(text)) || kinds.has('version'))) {
      kinds.add('basename')
      continue
    }
    isAtStart = false
    if (kinds.size === 0) kinds.add('finetune')
  }
  for (const { kinds } of parts.toReversed()) {
    if (!kinds.has('basename') || kinds.size < 2) break
    kinds.delete('basename')
  }
}

/** A name as a title: words in lower case get capitals, versions and words that have some stay. */
export function titleOf(id: string): string {
  return id
    .replaceAll('-', ' ')
    .split(/\s+/u)
    .filter((word) => word !== '')
    .map((word) => (isLowerCase(word) && !/^(v\d+(\.\d+)*|\d.*)$/u.test(word) ? capitalized(word) : word))
    .join(' ')
}

function isLowerCase(word: string): boolean {
  return /\p{Lowercase}/u.test(word) && !/[\p{Uppercase}\p{Lt}]/u.test(word)
}

/** Every letter behind what is none: `qwen3moe` becomes `Qwen3Moe`. */
function capitalized(word: string): string {
  return word.replaceAll(/(?<!\p{Cased})\p{Cased}/gu, (letter) => {
    const [first = '', ...rest] = letter.toUpperCase()
    return first + rest.join('').toLowerCase()
  })
}
