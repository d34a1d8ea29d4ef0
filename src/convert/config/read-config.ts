/** What is known of a model from its config.json. */
import { AprError, printable } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import { ARCHITECTURES } from '../architectures/architectures.js'
import type { Architecture } from '../architectures/architecture.js'
import type { HfModel } from '../hf-model.js'
import { jsonFile, textFile, type JsonObject } from '../json-file.js'
import { Config } from './config.js'
import { resolveConfig } from './resolve.js'

export interface FoundConfig {
  /** As `architectures` of config.json has it. */
  readonly modelClass: string
  readonly architecture: Architecture
  readonly config: Config
  /** Undefined where config.json says nothing. */
  readonly vocabSize: number | undefined
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
  // A model that also sees or hears has what belongs to its text in an object of its own.
  const own = raw['text_config']
  const text = isFields(own) ? own : raw
  const modelClass = firstOf(text['architectures']) ?? firstOf(raw['architectures'])
  const architecture = ARCHITECTURES.find(({ classes }) => classes.includes(String(modelClass)))
  if (!architecture || typeof modelClass !== 'string') {
    const known = ARCHITECTURES.flatMap(({ classes }) => classes).join(', ')
    const what = `expected architectures of config.json to name one of ${known}, found ${printable(String(modelClass))}`
    throw new AprError('APR_UNSUPPORTED', what)
  }
  const type = String(text['model_type'])
  const configClass = Object.hasOwn(architecture.configs, type) ? architecture.configs[type] : undefined
  const resolved = resolveConfig(text, textFile(files, 'config.json') ?? '', configClass)
  const config = new Config(text === raw ? resolved : { ...raw, ...resolved })
  return { modelClass, architecture, config, vocabSize: config.optionalCount('vocab_size'), raw }
}

function firstOf(list: unknown): unknown {
  return Array.isArray(list) ? list[0] : undefined
}
