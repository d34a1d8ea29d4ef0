/** The stages that users put between reader and writer: filter tensors, rename and reshape them, edit metadata. */
import { formatOf } from '../formats/formats.js'
import { AprError } from '../model/errors.js'
import type { Model } from '../model/model.js'
import { tensorBytes, type TensorInfo } from '../model/tensor.js'
import { answering, metadataChange, tensorChange, trueOrFalse, type TensorChange } from '../options/answers.js'
import { release } from '../records/buffers.js'
import { withTensors } from './changed-model.js'
import type { TensorTransform } from './face.js'
import { toTransform, type RecordStage } from './stage.js'

/**
 * Passes the tensors for which `keep` returns true, and drops the others: from the stream, the index and the count of
 * parameters.
 * @param keep called once a tensor for the model and once a record; gives the same answer for the same tensor, true or
 *   false and nothing else
 * @throws AprError `APR_BAD_OPTION` at once, and as the stream's error for another answer; what `keep` throws
 */
export function filterTensors(keep: (tensor: TensorInfo) => boolean): TensorTransform {
  return toTransform(filterStage(keep))
}

/** `filterTensors` without its stream. */
export function filterStage(keep: (tensor: TensorInfo) => boolean): RecordStage {
  const isKept = answering('keep of filterTensors', keep, trueOrFalse)
  return {
    derive(model) {
      const kept = model.tensors.filter((tensor) => isKept(tensor))
      return withTensors(model, kept)
    },
    convert(record, model) {
      if (isKept(record)) return { ...record, model }
      release(record.data)
      return undefined
    },
    needs: (ranges) => [...ranges],
  }
}

/**
 * Renames or reshapes tensors: what `change` returns replaces the same fields of the tensor. A new dtype or shape says
 * how the same bytes are to be read, so it must take as many; to change the bytes, use a Transform of your own.
 * @param change called once a tensor for the model and once a record; gives the same answer for the same tensor
 * @throws AprError `APR_BAD_OPTION` at once, and as the stream's error for another answer; `APR_BAD_RECORD` when the
 *   bytes do not fit; what `change` throws
 */
export function mapTensors(change: (tensor: TensorInfo) => TensorChange): TensorTransform {
  return toTransform(mapStage(change))
}

/** `mapTensors` without its stream. */
export function mapStage(change: (tensor: TensorInfo) => TensorChange): RecordStage {
  const changes = answering('change of mapTensors', change, tensorChange)
  const changed = (tensor: TensorInfo, model: Model): TensorInfo => {
    const { name, dtype, shape, size } = tensor
    const result = { ...changes({ name, dtype, shape, size }), size }
    if (!formatOf(model).isPossibleSize(result)) {
      throw new AprError(
        'APR_BAD_RECORD',
        `expected a change that keeps the tensor's ${size} bytes, found ${result.dtype} [${result.shape.join(', ')}] of ${tensorBytes(result.dtype, result.shape)} bytes`,
        { tensor: name },
      )
    }
    return Object.freeze(result)
  }
  return {
    derive(model) {
      const tensors = model.tensors.map((tensor) => changed(tensor, model))
      return withTensors(model, tensors)
    },
    convert: (record, model) => ({ ...record, ...changed(record, model), model }),
    needs(ranges, model) {
      // The bytes stay: only the names are others.
      const before = new Map(model.tensors.map((tensor) => [changed(tensor, model).name, tensor.name]))
      return ranges.map((range) => ({ ...range, name: before.get(range.name) ?? range.name }))
    },
  }
}

/**
 * Edits the metadata: what `change` returns is set, key by key, and a key whose value is undefined is removed. Every
 * other byte of the text stays as it is.
 * @param change takes the metadata, parsed; called once a model
 * @throws AprError `APR_BAD_OPTION` at once, and as the stream's error for an answer that is no object;
 *   `APR_BAD_METADATA` for a value that JSON cannot hold; what `change` throws
 */
export function mapMetadata(
  change: (metadata: Readonly<Record<string, unknown>>) => Record<string, unknown> | undefined,
): TensorTransform {
  const changesOf = answering('change of mapMetadata', change, metadataChange)
  return toTransform({
    derive(model) {
      const format = formatOf(model)
      return format.withMetadata(model, changesOf(format.metadata(model)) ?? {})
    },
    convert: (record, model) => ({ ...record, model }),
    needs: (ranges) => [...ranges],
  })
}

/**
 * A stage that leaves the model as it is.
 * @param isThere says of a tensor that it is written already: its records go no further
 */
export function passStage(isThere: (tensor: TensorInfo) => boolean = () => false): RecordStage {
  return {
    derive: (model) => model,
    convert(record, model) {
      if (!isThere(record)) return { ...record, model }
      release(record.data)
      return undefined
    },
    needs: (ranges) => [...ranges],
  }
}
