/**
 * Which tokens begin and end a text, and whether they are added by themselves: read as the reference converter reads it, out
 * of `tokenizer_config.json`, the post-processor of `tokenizer.json`, and `config.json`.
 */
import { AprError } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'
import type { KvList } from '../kv-list.js'
import { fileTokens } from './added-tokens.js'

const ID_KEYS: Readonly<Record<string, string>> = {
  ...{ bos: 'bos', eos: 'eos', unk: 'unknown', sep: 'seperator', pad: 'padding', mask: 'mask' },
  ...{ eot: 'eot', eom: 'eom' },
}
const ADDED_BY_ITSELF = ['bos', 'eos', 'sep']

export interface SpecialSources {
  readonly tokenizer: JsonObject | undefined
  readonly tokenizerConfig: JsonObject | undefined
  readonly config: JsonObject
  readonly chatTemplates: ChatTemplates
  /** Ids from here on are left out; undefined: none is. */
  readonly vocabSize?: number | undefined
  /** Kinds of tokens that are looked for; by default all of the usual ones. */
  readonly types?: readonly string[] | undefined
  /** Ids of those that no source gives. */
  readonly otherwise?: Readonly<Record<string, number>> | undefined
}

/** Those that stand in files of their own. */
export interface ChatTemplates {
  readonly jinja: string | undefined
  /** Those beside that one, which count with it. */
  readonly more: readonly { readonly name: string; readonly template: string }[]
  readonly json: JsonObject | undefined
}

const USUAL_TYPES = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask']

/** What is gathered while the sources are read. */
interface Found {
  readonly types: string[]
  readonly ids: Map<string, number>
  readonly adds: Map<string, boolean>
  /** tokenizer_config.json, with what the post-processor changes. */
  readonly settings: Record<string, unknown> | undefined
}

/** Sets ids, `add_*` and the chat template. */
export function setSpecialTokens(kvs: KvList, sources: SpecialSources): void {
  const found: Found = {
    types: [...(sources.types ?? USUAL_TYPES)],
    ids: new Map(),
    adds: new Map(),
    // Empty ones count as none.
    settings: isEmpty(sources.tokenizerConfig) ? undefined : { ...sources.tokenizerConfig },
  }
  if (sources.tokenizer) readPostProcessor(found, sources.tokenizer)
  if (found.settings) readSettings(found, found.settings, sources)
  for (const type of found.types) {
    const text = sources.config['text_config']
    const id = sources.config[`${type}_token_id`] ?? (isFields(text) ? text[`${type}_token_id`] : undefined)
    setId(found, type, id, sources.vocabSize)
  }
  for (const [type, id] of Object.entries(sources.otherwise ?? {})) setId(found, type, id, undefined)
  for (const [type, id] of found.ids) {
    const key = ID_KEYS[type]
    if (key !== undefined) kvs.set(`tokenizer.ggml.${key}_token_id`, 'u32', id)
  }
  for (const [type, isAdded] of found.adds) {
    if (ADDED_BY_ITSELF.includes(type)) kvs.set(`tokenizer.ggml.add_${type}_token`, 'bool', isAdded)
  }
  if (found.settings) setChatTemplate(kvs, found.settings, sources)
  setNormalizer(kvs, sources.tokenizer?.['normalizer'])
}

function isEmpty(settings: JsonObject | undefined): boolean {
  return !settings || Object.keys(settings).length === 0
}

/** What normalizers do to a text that llama.cpp can do too. */
function setNormalizer(kvs: KvList, normalizer: unknown): void {
  const flags = normalizerFlags(normalizer)
  for (const flag of ['lowercase', 'strip_accents']) {
    const value = flags[flag]
    if (typeof value === 'boolean') kvs.set(`tokenizer.ggml.normalizer.${flag}`, 'bool', value)
  }
}

function normalizerFlags(normalizer: unknown): JsonObject {
  if (!isFields(normalizer)) return {}
  const { type, normalizers, lowercase, strip_accents: stripsAccents } = normalizer
  if (type === 'Lowercase') return { lowercase: true }
  if (type === 'StripAccents') return { strip_accents: true }
  if (type === 'BertNormalizer') {
    return {
      ...(lowercase !== undefined && { lowercase }),
      ...(stripsAccents !== undefined && { strip_accents: stripsAccents }),
    }
  }
  if (type !== 'Sequence' || !Array.isArray(normalizers)) return {}
  return (normalizers as unknown[]).reduce<JsonObject>((all, one) => ({ ...all, ...normalizerFlags(one) }), {})
}

function setId({ ids }: Found, type: string, id: unknown, vocabSize: number | undefined): void {
  if (typeof id !== 'number' || !Number.isInteger(id)) return
  if (id < 0) throw new AprError('APR_BAD_METADATA', `expected the id of the ${type} token, found ${id}`)
  if (!ids.has(type) && (vocabSize === undefined || id < vocabSize)) ids.set(type, id)
}

function readSettings(found: Found, settings: JsonObject, { tokenizer, vocabSize }: SpecialSources): void {
  const added = tokenizer ? fileTokens(tokenizer) : []
  for (const type of found.types) {
    const isAdded = settings[`add_${type}_token`]
    if (typeof isAdded === 'boolean') found.adds.set(type, isAdded)
    const entry = settings[`${type}_token`]
    const content = isFields(entry) ? entry['content'] : entry
    if (typeof content === 'string') {
      setId(found, type, added.find((token) => token.content === content)?.id, vocabSize)
    }
  }
}

/** The token that a step of a template is, or undefined. */
function tokenOf(step: unknown): string | undefined {
  const token = isFields(step) ? step['SpecialToken'] : undefined
  const id = isFields(token) ? token['id'] : undefined
  return typeof id === 'string' ? id : undefined
}

function sequenceOf(step: unknown): unknown {
  const sequence = isFields(step) ? step['Sequence'] : undefined
  return isFields(sequence) ? sequence['id'] : undefined
}

function readPostProcessor(found: Found, tokenizer: JsonObject): void {
  const { settings } = found
  const special: Special = {
    bos: settings?.['bos_token'],
    cls: settings?.['cls_token'],
    eos: settings?.['eos_token'],
    sep: settings?.['sep_token'],
  }
  if (settings && !special.bos && special.cls) settings['bos_token'] = special.bos = special.cls
  if (settings && !special.eos && special.sep) settings['eos_token'] = special.eos = special.sep
  const processor = tokenizer['post_processor']
  if (!isFields(processor)) return
  const processors = Array.isArray(processor['processors']) ? (processor['processors'] as unknown[]) : [processor]
  for (const one of processors.filter(isFields)) {
    if (one['type'] === 'RobertaProcessing') readRoberta(found, one, special)
    if (one['type'] === 'TemplateProcessing') readTemplate(found, one, special)
  }
}

/** Tokens as tokenizer_config.json gives them: a text, or an object, which equals no text. */
interface Special {
  bos: unknown
  cls: unknown
  eos: unknown
  sep: unknown
}

function readRoberta({ adds, settings }: Found, processor: JsonObject, special: Special): void {
  for (const type of ADDED_BY_ITSELF) adds.set(type, true)
  const first = (value: unknown, otherwise: unknown): unknown =>
    Array.isArray(value) ? (value[0] as unknown) : otherwise
  if (settings && !special.cls) settings['cls_token'] = special.cls = first(processor['cls'], special.bos)
  if (settings && !special.sep) settings['sep_token'] = special.sep = first(processor['sep'], special.eos)
}

function readTemplate(found: Found, processor: JsonObject, special: Special): void {
  const { adds, settings, types } = found
  const steps = (value: unknown): unknown[] => (Array.isArray(value) ? (value as unknown[]) : [])
  const single = steps(processor['single'])
  const first = single.length > 1 ? tokenOf(single[0]) : undefined
  const last = single.length > 1 ? tokenOf(single.at(-1)) : undefined
  if (first) {
    const isKnown = (): boolean => first === special.bos || first === special.cls
    if (!settings) special.bos = first
    else if (!isKnown()) {
      if (!special.bos) settings['bos_token'] = special.bos = first
      if (!special.cls) settings['cls_token'] = special.cls = first
    }
    adds.set('bos', isKnown())
  }
  if (last) {
    if (!settings) special.eos = last
    else if (last !== special.eos) {
      // The old one still ends a turn.
      const kept = ['eot', 'eom'].find((type) => !types.includes(type))
      if (kept !== undefined) {
        types.push(kept)
        settings[`${kept}_token`] = special.eos
      }
      settings['eos_token'] = special.eos = last
    }
    adds.set('eos', true)
  }
  readPair(found, steps(processor['pair']), { first, last }, special)
}

/** Whether something stands between two texts. */
function readPair(
  { adds, settings }: Found,
  pair: readonly unknown[],
  { first, last }: { first: string | undefined; last: string | undefined },
  special: Special,
): void {
  const start = first && tokenOf(pair[0]) === first ? 1 : 0
  const end = last && tokenOf(pair.at(-1)) === last ? pair.length - 1 : pair.length
  const inner = pair.slice(start, end)
  if (sequenceOf(inner[0]) !== 'A' || sequenceOf(inner.at(-1)) !== 'B') return
  const between = inner.slice(1, -1)
  if (between.length === 0) return
  const isSeparator = (step: unknown): boolean => {
    const token = tokenOf(step)
    return token !== undefined && (token === special.sep || token === special.eos)
  }
  const isAdded = (isSeparator(between[0]) && !last) || (between.length === 2 && isSeparator(between[1]))
  adds.set('sep', isAdded)
  if (isAdded && !special.sep && settings) settings['sep_token'] = special.eos
}

function setChatTemplate(kvs: KvList, settings: JsonObject, { chatTemplates }: SpecialSources): void {
  const { jinja, more, json } = chatTemplates
  const all = more.length > 0 ? [{ name: 'default', template: jinja }, ...more] : jinja
  const beside = jinja === undefined ? json?.['chat_template'] : all
  const template = settings['chat_template'] === undefined ? beside : settings['chat_template']
  if (typeof template === 'string') {
    if (template !== '') kvs.set('tokenizer.chat_template', 'string', template)
    return
  }
  if (!Array.isArray(template)) return
  const names: string[] = []
  let main: string | undefined
  for (const choice of template.filter(isFields)) {
    const name = (typeof choice['name'] === 'string' ? choice['name'] : '').replace(/[^A-Za-z0-9]/gu, '_')
    const text = choice['template']
    if (name === '' || typeof text !== 'string') continue
    if (name === 'default') main = text
    else {
      if (!names.includes(name)) names.push(name)
      if (text !== '') kvs.set(`tokenizer.chat_template.${name}`, 'string', text)
    }
  }
  if (names.length > 0) kvs.setArray('tokenizer.chat_templates', 'string', names)
  if (main) kvs.set('tokenizer.chat_template', 'string', main)
}
