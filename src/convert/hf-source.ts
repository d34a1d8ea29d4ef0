/** Any model as Hugging Face folders hold it, or as GGUF where that is what it is. */
import type { GgufModel } from '../formats/formats.js'
import { AprError, printable } from '../model/errors.js'
import type { Model, ModelOf } from '../model/model.js'
import { ggufModelOf, hasGgufNames, hfModelOfApr } from './apr/from-apr.js'
import type { HfModel } from './hf-model.js'

/** A folder that says what a model is, where that has no files of its own. */
export interface ConfigFolder {
  /** Its name, without its path. */
  readonly name: string
  /** By name, as they stand there. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

/**
 * @param config its files count instead of those that the model has, and its name where the model comes from no folder
 * @throws AprError `APR_UNSUPPORTED` for a model of which nothing can be made
 */
export function hfModelOf(model: Model, config?: ConfigFolder): HfModel | GgufModel {
  if (model.format === 'gguf') return model
  if (model.format === 'safetensors') {
    const { folder, tensors, files, fromFp8 } = model
    return { folder: folder === '' ? (config?.name ?? '') : folder, tensors, files: config?.files ?? files, fromFp8 }
  }
  const { format }: ModelOf<string> = model
  if (format === 'apr') {
    if (hasGgufNames(model)) return ggufModelOf(model)
    const hf = hfModelOfApr(model, config?.files)
    return hf.folder === '' && config ? { ...hf, folder: config.name } : hf
  }
  throw new AprError('APR_UNSUPPORTED', `expected a model that GGUF can be made of, found one of ${printable(format)}`)
}
