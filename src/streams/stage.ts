/** The shape of a stage: what it does, said in pure functions, and the stream that is made of them. */
import { Transform } from 'streamx'
import type { Model } from '../model/model.js'
import type { TensorRecord } from '../model/record.js'
import { Intake } from './changed-model.js'
import { transformFace, type TensorTransform } from './face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from './streamx.js'

/** Some of a tensor's bytes. */
export interface TensorRange {
  readonly name: string
  /** Bytes from the tensor's start: of the first, and behind the last. */
  readonly start: number
  readonly end: number
}

/** What a stage makes of a model, and what of it a part of the result needs. A stage of a user's own has neither. */
export interface StageShape {
  /** What it makes of a model: the same for the same one. Called once a model, and again where other tensors came. */
  derive(model: Model): Model
  /**
   * The bytes of its input that these bytes of its output are made of; more is fine.
   * @param model its input
   */
  needs(ranges: readonly TensorRange[], model: Model): TensorRange[]
}

/** A stage that makes one record, or none, of each. */
export interface RecordStage extends StageShape {
  /** @param model what `derive` has made of the record's model */
  convert(record: TensorRecord, model: Model): TensorRecord | undefined
}

/** The stream that such a stage is. */
export function toTransform(stage: RecordStage): TensorTransform {
  const intake = new Intake((model) => stage.derive(model))
  return transform(
    (record) => stage.convert(record, intake.take(record)),
    () => intake.end(),
  )
}

/** A stage that passes every record, after `look` has seen it. */
export function tapRecords(look: (record: TensorRecord) => void): TensorTransform {
  return transform((record) => {
    look(record)
    return record
  })
}

function transform(
  convert: (record: TensorRecord) => TensorRecord | undefined,
  end: () => void = () => undefined,
): TensorTransform {
  const inner = new Transform({
    highWaterMark: QUEUE_BYTES,
    byteLength: recordBytes,
    transform(value: unknown, done: (error: Error | null, record?: TensorRecord) => void) {
      bridge<TensorRecord | undefined>(() => convert(checkIsRecord(value)), done)
    },
    flush(done: Done) {
      end()
      done(null)
    },
  })
  return transformFace(inner)
}
