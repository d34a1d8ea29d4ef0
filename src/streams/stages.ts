/** The stages that users put between reader and writer: filter tensors, rename and reshape them, edit metadata. */
import { Transform } from 'streamx'
import { AprError } from '../model/errors.js'
import { editMetadata } from '../formats/apr/metadata.js'
import { isPossibleSize, tensorBytes, type AprModel, type TensorInfo, type TensorRecord } from '../model/tensor.js'
import { release } from './buffers.js'
import { Intake, withTensors } from './changed-model.js'
import { answering, metadataChange, tensorChange, trueOrFalse, type TensorChange } from '../options/answers.js'
import { transformFace, type TensorTransform } from './face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from './streamx.js'

/**
 * Passes the tensors for which `keep` returns true, and drops the others: from the stream, the index and the count of
 * parameters.
 * @param keep called once a tensor for the model and once a record; gives the same answer for the same tensor, true or
 *   false and nothing else
 * @throws AprError `APR_BAD_OPTION` at once, and as the stream's error for another answer; what `keep` throws
 */
export function filterTensors(keep: (tensor: TensorInfo) => boolean): TensorTransform {
  const isKept = answering('keep of filterTensors', keep, trueOrFalse)
  const intake = new Intake((model) =>
    withTensors(
      model,
      model.tensors.filter((tensor) => isKept(tensor)),
    ),
  )
  return stage((record) => {
    const model = intake.take(record)
    if (isKept(record)) return { ...record, model }
    release(record.data)
    return undefined
  }, intake)
}

/**
 * Renames or reshapes tensors: what `change` returns replaces the same fields of the tensor. A new dtype or shape says
 * how the same bytes are to be read, so it must take as many; to change the bytes, use a Transform of your own.
 * @param change called once a tensor for the model and once a record; gives the same answer for the same tensor
 * @throws AprError `APR_BAD_OPTION` at once, and as the stream's error for another answer; `APR_BAD_RECORD` when the
 *   bytes do not fit; what `change` throws
 */
export function mapTensors(change: (tensor: TensorInfo) => TensorChange): TensorTransform {
  const changes = answering('change of mapTensors', change, tensorChange)
  const changed = (tensor: TensorInfo): TensorInfo => {
    const { name, dtype, shape, size } = tensor
    const result = { ...changes({ name, dtype, shape, size }), size }
    if (!isPossibleSize(result)) {
      throw new AprError(
        'APR_BAD_RECORD',
        `expected a change that keeps the tensor's ${size} bytes, found ${result.dtype} [${result.shape.join(', ')}] of ${tensorBytes(result.dtype, result.shape)} bytes`,
        { tensor: name },
      )
    }
    return Object.freeze(result)
  }
  const intake = new Intake((model) => withTensors(model, model.tensors.map(changed)))
  return stage((record) => ({ ...record, ...changed(record), model: intake.take(record) }), intake)
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
  const intake = new Intake((model): AprModel => {
    const changes = changesOf(JSON.parse(model.metadata) as Record<string, unknown>)
    return Object.freeze({ ...model, ...(changes && { metadata: editMetadata(model.metadata, changes) }) })
  })
  return stage((record) => ({ ...record, model: intake.take(record) }), intake)
}

/** Passes every record, after `look` has seen it. */
export function tapRecords(look: (record: TensorRecord) => void): TensorTransform {
  return stage((record) => {
    look(record)
    return record
  })
}

/** A stage that makes one record, or none, of each. */
function stage(convert: (record: TensorRecord) => TensorRecord | undefined, intake?: Intake): TensorTransform {
  const inner = new Transform({
    highWaterMark: QUEUE_BYTES,
    byteLength: recordBytes,
    transform(value: unknown, done: (error: Error | null, record?: TensorRecord) => void) {
      bridge<TensorRecord | undefined>(() => convert(checkIsRecord(value)), done)
    },
    flush(done: Done) {
      intake?.end()
      done(null)
    },
  })
  return transformFace(inner)
}
