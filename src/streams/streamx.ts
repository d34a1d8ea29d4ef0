/** What the stages share of streamx: the byte count of records, and the bridge for its hooks. */
import { DTYPES, isDType } from '../model/dtypes.js'
import { AprError, printable } from '../model/errors.js'
import type { TensorRecord } from '../model/record.js'
import { checkNotSpent } from '../records/buffers.js'

/**
 * Runs a hook's work and hands its result or its error to streamx's callback. A throw or a rejection inside a hook
 * would not reach the pipeline by itself: it would be an uncaught exception, and the pipeline would hang.
 */
export function bridge<T>(work: () => Promise<T> | T, done: (error: Error | null, value?: T) => void): void {
  Promise.resolve()
    .then(work)
    .then(
      (value) => done(null, value),
      (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
    )
}

/** How a hook tells streamx that it is done. */
export type Done = (error: Error | null) => void

/**
 * Checks that what reached a stage is a tensor record.
 * @throws AprError `APR_BAD_RECORD`
 */
export function checkIsRecord(value: unknown): TensorRecord {
  const record = value as Partial<TensorRecord> | null
  const isRecord =
    typeof record === 'object' &&
    [record?.name, record?.dtype, record?.model?.format].every((text) => typeof text === 'string') &&
    [record?.size, record?.offset].every((number) => Number.isSafeInteger(number) && Number(number) >= 0) &&
    Array.isArray(record?.shape) &&
    Array.isArray(record.model?.tensors) &&
    record.data instanceof Uint8Array
  if (!isRecord) {
    throw new AprError(
      'APR_BAD_RECORD',
      `expected a tensor record (name, dtype, shape, size, offset, data, model), found ${describeValue(value)}`,
    )
  }
  const { name, dtype } = record as TensorRecord
  if (!isDType(dtype)) {
    const what = `expected a dtype among ${Object.keys(DTYPES).join(', ')}, found ${printable(dtype)}`
    throw new AprError('APR_BAD_RECORD', what, { tensor: name })
  }
  checkNotSpent(record as TensorRecord)
  return record as TensorRecord
}

function describeValue(value: unknown): string {
  if (value instanceof Uint8Array) return 'bytes'
  return value === null
    ? 'null'
    : typeof value === 'object'
      ? `an object with ${Object.keys(value).join(', ') || 'no keys'}`
      : typeof value
}

const sizes = new WeakMap<object, number>()

/**
 * How much a queued record counts towards `highWaterMark`, in bytes. Never 0, and always the same for one record, even
 * after its data was detached: streamx loses records or spins otherwise.
 */
export function recordBytes(record: unknown): number {
  if (typeof record !== 'object' || record === null) return 1
  let size = sizes.get(record)
  if (size === undefined) {
    size = 1 + ((record as Partial<TensorRecord>).data?.byteLength ?? 0)
    sizes.set(record, size)
  }
  return size
}

/**
 * What streamx itself may queue on each side of a stage: a few small records or one of any size. The memory that counts
 * is in the stages' own windows, which their `highWaterMark` bounds.
 */
export const QUEUE_BYTES = 64 * 1024
