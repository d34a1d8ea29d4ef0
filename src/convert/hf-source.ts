/** Any model as Hugging Face folders hold it, or as GGUF where that is what it is. */
import type { GgufModel } from '../formats/formats.js'
import { AprError, printable } from '../model/errors.js'
import type { Model, ModelOf } from '../model/model.js'
import { ggufModelOf, hasGgufNames, hfModelOfApr } from './apr/from-apr.js'
import type { HfModel } from './hf-model.js'

/** Files of a folder, by name. */
export type ConfigFiles = ReadonlyMap<string, Uint8Array>

/**
 * @param configFiles those that say what the model is, where it has none of its own
 * @throws AprError `APR_UNSUPPORTED` for a model of which nothing can be made
 */
export function hfModelOf(model: Model, configFiles?: ConfigFiles): HfModel | GgufModel {
  if (model.format === 'gguf') return model
  if (model.format === 'safetensors') {
    const { folder, tensors, files } = model
    return { folder, tensors, files: configFiles ?? files }
  }
  const { format }: ModelOf<string> = model
  if (format === 'apr') return hasGgufNames(model) ? ggufModelOf(model) : hfModelOfApr(model, configFiles)
  throw new AprError('APR_UNSUPPORTED', `expected a model that GGUF can be made of, found one of ${printable(format)}`)
}
