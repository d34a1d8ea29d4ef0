/** Deriving the model that a stage announces from the one that reached it. */
import { editMetadata, metadataValue } from '../formats/apr/metadata.js'
import { parameterCount, type AprModel, type TensorInfo } from '../model/tensor.js'

/** The same model with other tensors. Where the number of parameters changes and metadata tells it, that is changed too. */
export function withTensors(model: AprModel, tensors: readonly TensorInfo[]): AprModel {
  const count = parameterCount(tensors)
  const isTold = count !== parameterCount(model.tensors) && metadataValue(model.metadata, 'param_count') !== undefined
  const metadata = isTold ? editMetadata(model.metadata, { param_count: count }) : model.metadata
  return Object.freeze({ ...model, metadata, tensors: Object.freeze([...tensors]) })
}

/** Applies `derive` once a model: the records of a stream share theirs. */
export function oncePerModel<T>(derive: (model: AprModel) => T): (model: AprModel) => T {
  let last: { model: AprModel; result: T } | undefined
  return (model) => {
    if (last?.model !== model) last = { model, result: derive(model) }
    return last.result
  }
}
