/** The KVs of `general.*`: what a model is called, who made it of what, and how it is to be sampled. */
import { arrayKv, kv, type Kv } from '../../formats/formats.js'
import { AprError, printable } from '../../model/errors.js'
import type { HfModel } from '../hf-model.js'
import { authorship, isFalsy, type TextField } from './authorship.js'
import { CardScalar, modelCard, type CardFields, type CardValue } from './model-card.js'
import { samplingKvs } from './sampling.js'
import { sizeLabel, type ParameterCounts } from './size-label.js'

/** In the converter's order. */
// prettier-ignore
const TEXT_FIELDS: readonly TextField[] = [
  'name', 'author', 'version', 'organization', 'finetune', 'basename', 'description', 'size_label', 'license',
  'license.name', 'license.link', 'source.url', 'source.doi', 'source.uuid', 'source.repo_url',
]

/** What is told of each model or data set that a model was made of, in the converter's order. */
// prettier-ignore
const ORIGIN_FIELDS = [
  'name', 'author', 'version', 'organization', 'description', 'url', 'doi', 'uuid', 'repo_url',
] as const

/**
 * `general.*` up to the languages: architecture, type, sampling, authorship, size, license, origins, tags.
 * @param options `parameters` of all tensors that are written
 * @throws AprError `APR_BAD_METADATA` for a model card, a config or sampler settings that cannot be read
 */
export function generalKvs(
  hf: HfModel,
  { architecture, parameters }: { readonly architecture: string; readonly parameters: ParameterCounts },
): Kv[] {
  const card = modelCard(hf.files.get('README.md'))
  const nameOrPath = nameOrPathOf(hf.files.get('config.json'))
  const { texts, baseModels, datasets, tags, languages } = authorship(
    { card, nameOrPath, folder: hf.folder },
    parameters.total,
  )
  const label = texts.get('size_label') ?? (parameters.total > 0 ? sizeLabel(parameters) : '')
  return [
    kv('general.architecture', 'string', architecture),
    kv('general.type', 'string', 'model'),
    ...samplingKvs(hf.files.get('generation_config.json')),
    ...TEXT_FIELDS.flatMap((field) => textKv(field, field === 'size_label' ? label : texts.get(field))),
    ...originKvs('base_model', baseModels),
    ...originKvs('dataset', datasets),
    ...listKv('tags', tags),
    ...listKv('languages', languages),
  ]
}

function nameOrPathOf(file: Uint8Array | undefined): unknown {
  if (!file) return undefined
  try {
    const config: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(file))
    return (config as { _name_or_path?: unknown } | null)?._name_or_path
  } catch (cause) {
    const place = { file: 'config.json' }
    throw new AprError('APR_BAD_METADATA', 'expected a JSON object, found text that is none', place, { cause })
  }
}

function textKv(field: string, value: CardValue | undefined): Kv[] {
  if (value === undefined || isFalsy(value)) return []
  return [kv(`general.${field}`, 'string', textOf(field, value))]
}

/** A value of a card as text: that of a number or a date is what stands in the card. Several licenses become one text. */
function textOf(field: string, value: CardValue): string {
  if (typeof value === 'string') return value
  if (value instanceof CardScalar) return value.text
  if (Array.isArray(value) && field === 'license') {
    return (value as readonly CardValue[]).map((item) => textOf('license of several', item)).join(',')
  }
  const what = `expected a text as "${printable(field)}" in the model card, found ${Array.isArray(value) ? 'a list' : 'no text'}`
  throw new AprError('APR_BAD_METADATA', what, { file: 'README.md' })
}

function originKvs(kind: 'base_model' | 'dataset', origins: readonly CardFields[] | undefined): Kv[] {
  if (!origins) return []
  return [
    kv(`general.${kind}.count`, 'u32', origins.length),
    ...origins.flatMap((origin, i) =>
      ORIGIN_FIELDS.flatMap((field) =>
        textKv(`${kind}.${i}.${field}`, Object.hasOwn(origin, field) ? origin[field] : undefined),
      ),
    ),
  ]
}

/** Types of elements that the converter writes as they are, where all of a list have the same. */
const LIST_TYPES = { bool: 'bool', int: 'i32', float: 'f32' } as const

function listKv(field: 'tags' | 'languages', values: readonly CardValue[] | undefined): Kv[] {
  if (!values || values.length === 0) return []
  const [first] = values
  const scalars = values.filter((value) => value instanceof CardScalar)
  if (first instanceof CardScalar && first.type !== 'timestamp') {
    const { type } = first
    const isOfOne = scalars.length === values.length && scalars.every((scalar) => scalar.type === type)
    if (isOfOne)
      return [
        arrayKv(
          `general.${field}`,
          LIST_TYPES[type],
          scalars.map(({ value }) => (type === 'bool' ? value !== 0 : value)),
        ),
      ]
  }
  const texts = values.map((value) => textOf(field, value))
  return [arrayKv(`general.${field}`, 'string', texts)]
}
