/**
 * `config.json` as transformers' AutoConfig gives it to the reference converter: a class's defaults for what is absent, and
 * the older ways to write things folded into the newer ones.
 */
import { AprError, printable } from '../model/errors.js'
import { isFields } from '../model/found.js'
import { Config, isThere } from './config.js'
import { ARCHITECTURES } from './architectures/architectures.js'
import type { Architecture, ConfigDefaults } from './architectures/architecture.js'
import type { HfModel } from './hf-model.js'
import { jsonFile, type JsonObject } from './json-file.js'

/** What is known of a model from its configuration. */
export interface FoundConfig {
  /** As `architectures` of config.json has it. */
  readonly modelClass: string
  readonly architecture: Architecture
  readonly config: Config
  /** config.json as it stands there. */
  readonly raw: JsonObject
}

/**
 * Reads a model's configuration.
 * @throws AprError `APR_BAD_METADATA` where there is none, `APR_UNSUPPORTED` for an architecture that is not known
 */
export function readConfig({ files }: HfModel): FoundConfig {
  const raw = jsonFile(files, 'config.json')
  if (!raw) {
    throw new AprError('APR_BAD_METADATA', 'expected a folder with config.json beside the tensors, found none')
  }
  const text = isFields(raw['text_config']) ? { ...raw, ...raw['text_config'] } : raw
  const classes = text['architectures']
  const modelClass: unknown = Array.isArray(classes) ? classes[0] : undefined
  const architecture = ARCHITECTURES.find(({ classes: own }) => own.includes(String(modelClass)))
  if (!architecture || typeof modelClass !== 'string') {
    const known = ARCHITECTURES.flatMap(({ classes: own }) => own).join(', ')
    const what = `expected architectures of config.json to name one of ${known}, found ${printable(String(modelClass))}`
    throw new AprError('APR_UNSUPPORTED', what)
  }
  return { modelClass, architecture, config: new Config(resolve(text, architecture)), raw }
}

function resolve(raw: JsonObject, { defaults }: Architecture): JsonObject {
  const own = defaults[String(raw['model_type'])]
  // A class that transformers does not know, or a value that it refuses: what stands there is taken as it is.
  if (!own || !fits(raw, own)) return raw
  const { computed, theta, values } = own
  const known = Object.fromEntries(Object.entries(raw).filter(([key, value]) => !isNullToFill(key, value, own)))
  const filled: Record<string, unknown> = { ...values, ...known }
  for (const [key, compute] of Object.entries(computed ?? {})) filled[key] ??= compute(new Config(filled))
  const alias = own.aliases ?? {}
  for (const [key, name] of Object.entries(alias)) if (isThere(raw[key])) filled[name] = raw[key]
  filled['rope_parameters'] = foldRope(raw, theta, filled)
  delete filled['rope_theta']
  delete filled['rope_scaling']
  return filled
}

/** Null where a class computes a value of its own. */
function isNullToFill(key: string, value: unknown, { computed }: ConfigDefaults): boolean {
  return value === null && computed !== undefined && Object.hasOwn(computed, key)
}

/** Whether each number is one where the class wants one. */
function fits(raw: JsonObject, { values, computed, notNull = [] }: ConfigDefaults): boolean {
  const numbers = Object.entries(values).filter(([, value]) => typeof value === 'number')
  const isNumberOrAbsent = (value: unknown): boolean => value === undefined || typeof value === 'number'
  const isComputed = (key: string): boolean => computed !== undefined && Object.hasOwn(computed, key)
  return (
    numbers.every(([key]) => isNumberOrAbsent(raw[key]) || (raw[key] === null && isComputed(key))) &&
    notNull.every((key) => raw[key] !== null)
  )
}

function foldRope(raw: JsonObject, theta: number, filled: JsonObject): JsonObject {
  const own = raw['rope_parameters']
  const scaling = isFields(own) ? own : raw['rope_scaling']
  const rope: Record<string, unknown> = isFields(scaling) ? { ...scaling } : {}
  rope['rope_theta'] ??= isFields(own) ? theta : (raw['rope_theta'] ?? theta)
  rope['rope_type'] ??= rope['type'] ?? 'default'
  if (rope['rope_type'] === 'yarn') rope['original_max_position_embeddings'] ??= filled['max_position_embeddings']
  return rope
}
