/** The model card: the YAML at the start of README.md, with the values that llama.cpp's converter would see. */
import type { ScalarTag } from 'yaml'
import { AprError, printable } from '../../model/errors.js'

/** A value that is no text: its own text is kept, which is what a name or a version means by it. */
export class CardScalar {
  readonly type: 'bool' | 'int' | 'float' | 'timestamp'
  readonly text: string
  /** NaN where nobody asks for it. */
  readonly value: number

  constructor(type: CardScalar['type'], text: string, value: number) {
    this.type = type
    this.text = text
    this.value = value
  }
}

export type CardValue = string | null | CardScalar | readonly CardValue[] | { readonly [key: string]: CardValue }

/** A mapping of the card. */
export type CardFields = Readonly<Record<string, CardValue>>

const FILE = 'README.md'

let yaml: typeof import('yaml') | undefined

/** Loads what model cards are read with, once there may be one: it takes time and memory that most programs have no use for. */
export async function prepareModelCards(): Promise<void> {
  // webpack would make a file of its own of it: a bundle is to be whole.
  yaml ??= await import(/* webpackMode: "eager" */ 'yaml')
}

/**
 * The fields of a model card, which was prepared.
 * @param file README.md as it stands there
 * @returns none where it has no YAML, or one that is no mapping
 * @throws AprError `APR_BAD_METADATA` for YAML that cannot be read: the converter fails there too
 */
export function modelCard(file: Uint8Array | undefined): CardFields {
  const text = file && frontMatter(file)
  if (text === undefined) return {}
  if (!yaml) throw new Error('a model card is prepared before it is read')
  let card: unknown
  try {
    const document = yaml.parseDocument(text, {
      ...{
        version: '1.1',
        schema: 'failsafe',
        customTags: SCALARS,
        merge: true,
        uniqueKeys: false,
        logLevel: 'silent',
      },
    })
    const [error] = document.errors
    if (error) throw error
    card = document.toJS()
  } catch (cause) {
    const [reason = ''] = cause instanceof Error ? cause.message.split('\n') : []
    const what = `expected a model card that starts with YAML, found ${printable(reason)}`
    throw new AprError('APR_BAD_METADATA', what, { file: FILE }, { cause })
  }
  return isMapping(card) ? card : {}
}

export function isMapping(value: unknown): value is CardFields {
  const isObject = typeof value === 'object' && value !== null
  return isObject && !Array.isArray(value) && !(value instanceof CardScalar)
}

/** What Python takes for lines: more than newlines end them. */
// eslint-disable-next-line no-control-regex
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/u

/** The lines between the first `---` and the next, with two repairs of the converter's. */
function frontMatter(file: Uint8Array): string | undefined {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(file)
  } catch (cause) {
    throw new AprError(
      'APR_BAD_METADATA',
      'expected a model card in UTF-8, found other bytes',
      { file: FILE },
      { cause },
    )
  }
  const [first, ...lines] = text.split(LINE_END)
  if (first !== '---') return undefined
  const end = lines.indexOf('---')
  const inside = end < 0 ? lines : lines.slice(0, end)
  // The language Norwegian is no boolean; and tabs, which YAML forbids, were seen in cards.
  return `${inside.join('\n')}\n`.replaceAll('- no\n', '- "no"\n').replaceAll('\t', '  ')
}

/**
 * What a plain scalar is beside a text: YAML 1.1 as PyYAML reads it, where `1e5` is a text and `017` is 15. The types of
 * a library's own would differ in such corners.
 */
const SCALARS: ScalarTag[] = [
  scalar('null', /^(~|null|Null|NULL|)$/, () => null),
  scalar('bool', /^(yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/, (text) => {
    return new CardScalar('bool', text, /^(yes|true|on)$/i.test(text) ? 1 : 0)
  }),
  scalar(
    'int',
    /^([-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+)$/,
    (text) => new CardScalar('int', text, integer(text)),
  ),
  scalar(
    'float',
    /^([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$/,
    (text) => new CardScalar('float', text, Number(text.replaceAll('_', ''))),
  ),
  scalar(
    'timestamp',
    /^(\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?([Tt]|[ \t]+)\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:\d\d)?))?)$/,
    (text) => new CardScalar('timestamp', text, NaN),
  ),
]

function scalar(name: string, test: RegExp, resolve: (text: string) => CardScalar | null): ScalarTag {
  return { tag: `tag:yaml.org,2002:${name}`, default: true, test, resolve }
}

function integer(text: string): number {
  const digits = text.replaceAll('_', '').replace(/^[-+]/, '')
  const octal = /^0\d/.test(digits) ? `0o${digits.slice(1)}` : digits
  return (text.startsWith('-') ? -1 : 1) * Number(octal)
}
