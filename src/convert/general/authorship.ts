/** Who made a model, of what, and what it is called: from its card, its config and its folder's name, in this order. */
import { CardScalar, isMapping, type CardFields, type CardValue } from './model-card.js'
import { nameParts, titleOf, type NameParts } from './name-parts.js'

/** The keys of `general.*` that are one text, of those this package knows a source for. */
export type TextField =
  | ('name' | 'author' | 'version' | 'organization' | 'finetune' | 'basename' | 'description' | 'size_label')
  | ('license' | 'license.name' | 'license.link' | 'source.url' | 'source.doi' | 'source.uuid' | 'source.repo_url')

export interface Authorship {
  /** A field of the empty text has been told, and is not written. */
  readonly texts: ReadonlyMap<TextField, CardValue>
  /** What the model was made of; undefined where nothing is told of it, which differs from none. */
  readonly baseModels: readonly CardFields[] | undefined
  readonly datasets: readonly CardFields[] | undefined
  readonly tags: readonly CardValue[] | undefined
  readonly languages: readonly CardValue[] | undefined
}

/** Where in a card each field is looked for: the first key with a value counts. */
const CARD_KEYS: readonly (readonly [TextField, readonly string[]])[] = [
  ['name', ['name', 'model_name']],
  ['author', ['author', 'model_author', 'model_creator']],
  ['version', ['version', 'model_version']],
  ['organization', ['organization', 'model_organization']],
  ['description', ['description', 'model_description']],
  ['finetune', ['finetune', 'model_finetune']],
  ['basename', ['basename', 'model_basename', 'model_type']],
  ['size_label', ['size_label', 'model_size_label']],
  ['source.url', ['url', 'model_url']],
  ['source.doi', ['doi', 'model_doi']],
  ['source.uuid', ['uuid', 'model_uuid']],
  ['source.repo_url', ['repo_url', 'model_repo_url']],
  ['license', ['license']],
  ['license.name', ['license_name']],
  ['license.link', ['license_link']],
]

/**
 * @param sources the card, `_name_or_path` of the config, and the folder's name
 * @param parameters of the whole model
 */
export function authorship(
  sources: { card: CardFields; nameOrPath: unknown; folder: string },
  parameters: number,
): Authorship {
  const { card, nameOrPath, folder } = sources
  const texts = new Map<TextField, CardValue>()
  const add = (field: TextField, value: CardValue | undefined): void => {
    if (value !== undefined && value !== null && !texts.has(field)) texts.set(field, value)
  }
  for (const [field, keys] of CARD_KEYS) for (const key of keys) add(field, fieldOf(card, key))
  // With more slashes it is the path of a folder of the one who saved it.
  const isId = typeof nameOrPath === 'string' && nameOrPath.split('/').length <= 2
  for (const id of isId ? [nameOrPath, folder] : [folder]) {
    const parts = nameParts(id, parameters)
    add('name', titleOf(parts.name))
    add('organization', parts.organization === undefined ? undefined : titleOf(parts.organization))
    add('basename', parts.basename)
    add('finetune', parts.finetune)
    add('version', parts.version)
    add('size_label', parts.sizeLabel)
  }
  return {
    texts,
    baseModels: origins(card, ['base_model', 'base_models', 'base_model_sources'], parameters),
    datasets: origins(card, ['datasets', 'dataset', 'dataset_sources'], parameters),
    tags: list(card, ['tags', 'pipeline_tag']),
    languages: list(card, ['languages', 'language']),
  }
}

function fieldOf(fields: CardFields, key: string): CardValue | undefined {
  return Object.hasOwn(fields, key) ? fields[key] : undefined
}

/** What a card tells of models or data sets that the model was made of, by the first of these keys that is there. */
function origins(card: CardFields, keys: readonly string[], parameters: number): CardFields[] | undefined {
  const key = keys.find((name) => Object.hasOwn(card, name))
  if (key === undefined) return undefined
  return items(fieldOf(card, key)).map((item) => {
    if (typeof item === 'string') return origin(item, parameters)
    // What is neither an id nor a mapping counts, and tells nothing.
    return isMapping(item) ? item : {}
  })
}

/** A text or a list as a list; what is neither tells nothing. */
function items(value: CardValue | undefined): readonly CardValue[] {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? (value as readonly CardValue[]) : []
}

const HUB = 'https://huggingface.co/'

/** What an id or an address tells of a model or a data set. */
function origin(id: string, parameters: number): CardFields {
  if (!/^(https?|ssh):\/\//u.test(id)) {
    const parts = nameParts(id, parameters)
    const { organization, name } = parts
    const address = organization === undefined ? {} : { repo_url: `${HUB}${organization}/${name}` }
    return { ...described(parts), ...address }
  }
  const hubId = /^https?:\/\/huggingface.co\/([^/]+\/[^/]+)$/u.exec(id)?.[1]
  return { ...(hubId !== undefined && described(nameParts(hubId, parameters))), repo_url: id }
}

function described({ name, organization, version }: NameParts): CardFields {
  return {
    name: titleOf(name),
    ...(organization !== undefined && { organization: titleOf(organization) }),
    ...(version !== undefined && { version }),
  }
}

/** The elements that a card has under these keys; undefined where it has none of them. */
function list(card: CardFields, keys: readonly string[]): CardValue[] | undefined {
  const values = keys.map((key) => fieldOf(card, key)).filter((value) => value !== undefined && value !== null)
  return values.length > 0 ? values.flatMap(items) : undefined
}

/** Whether Python takes a value for false: the converter then leaves it out. */
export function isFalsy(value: CardValue): boolean {
  if (value === null || value === '') return true
  if (value instanceof CardScalar) return value.value === 0
  return Array.isArray(value) ? value.length === 0 : isMapping(value) && Object.keys(value).length === 0
}
