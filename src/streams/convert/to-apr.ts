/** The stage that makes APR of a model of another format. */
import { aprModelOf } from '../../convert/apr/to-apr.js'
import type { TensorTransform } from '../face.js'
import { toTransform, type RecordStage } from '../stage.js'
import { passStage } from '../tensor-stages.js'
import type { TensorInfo } from '../../model/tensor.js'

/**
 * Makes APR of a model of another format. Tensors keep their names, dtypes and bytes; what else the source holds goes
 * into the metadata, so that the way back gives it again: the files of a Hugging Face folder, the typed KVs of GGUF, and
 * the order of the tensors. A model that is APR already passes.
 * @throws AprError as the stream's error: `APR_UNSUPPORTED` that lists the tensors of dtypes that APR does not hold,
 *   `APR_BAD_METADATA` for a folder's files that cannot be read
 */
export function toApr(): TensorTransform {
  return toTransform(aprStage())
}

/**
 * `toApr` without its stream.
 * @param isThere says of a tensor that it is written already: its records go no further
 */
export function aprStage(isThere?: (tensor: TensorInfo) => boolean): RecordStage {
  return { ...passStage(isThere), derive: aprModelOf }
}
