/**
 * Memory for the data of records. A reader takes buffers from its pool; whoever consumes a record gives its buffer
 * back, so that a long stream allocates nothing in its steady state and leaves nothing to the garbage collector.
 *
 * A buffer is known by its very view: the pool's own Uint8Array. Data that a user's stage made, or cut out of a record
 * with `subarray`, is not, and is left alone. Taking a record's buffer detaches the view that the record has: a stage that
 * kept it, or passed it on twice, finds it empty, never filled with other bytes.
 */
import { AprError } from '../model/errors.js'
import type { TensorRecord } from '../model/record.js'

/** Data of a record that shares its memory with others, or has it for itself: made here, and passed on once. */
const LENT = Symbol('lent')
/** The same, when a consumer has had it. */
const SPENT = Symbol('spent')

/** The pool that each view was taken from; without one, whether its record has had its consumer. */
const owners = new WeakMap<Uint8Array, BufferPool | typeof LENT | typeof SPENT>()

/** Buffers come in powers of two from here on, plus room for the padding behind a tensor. */
const MIN_CLASS_BYTES = 64 * 1024
const SLACK_BYTES = 64

export class BufferPool {
  readonly #maxFreeBytes: number
  #free: ArrayBuffer[] = []
  #freeBytes = 0

  /** @param maxFreeBytes how much is kept for later use at the most */
  constructor(maxFreeBytes: number) {
    this.#maxFreeBytes = maxFreeBytes
  }

  /** A view of exactly `size` bytes, their content undefined. */
  take(size: number): Uint8Array {
    const capacity = capacityFor(size)
    const index = this.#free.findLastIndex((buffer) => buffer.byteLength === capacity)
    let buffer = this.#free[index]
    if (buffer) {
      this.#free.splice(index, 1)
      this.#freeBytes -= capacity
    } else {
      buffer = Buffer.allocUnsafeSlow(capacity).buffer
    }
    return this.adopt(buffer, size)
  }

  /** Makes `buffer` one of this pool's, as a view of its first `size` bytes. */
  adopt(buffer: ArrayBuffer, size: number): Uint8Array {
    const view = new Uint8Array(buffer, 0, size)
    owners.set(view, this)
    return view
  }

  /** Takes a buffer back. The view is detached. */
  put(view: Uint8Array): void {
    const capacity = view.buffer.byteLength
    while (this.#freeBytes + capacity > this.#maxFreeBytes) {
      const oldest = this.#free.shift()
      if (oldest === undefined) {
        moveBuffer(view)
        return
      }
      this.#freeBytes -= oldest.byteLength
    }
    this.#free.push(moveBuffer(view))
    this.#freeBytes += capacity
  }
}

/**
 * Takes over the memory of a record that has reached its consumer. A pool's buffer is moved to a view of its own, and
 * the record's is empty from here on; other data is taken as it is.
 * @throws AprError `APR_BAD_RECORD` when another consumer has it
 */
export function takeOver(record: TensorRecord): Uint8Array {
  const { name, size, data: view } = record
  const owner = owners.get(view)
  if (size > 0 && (view.length === 0 || owner === SPENT)) throw gone(name)
  if (owner instanceof BufferPool) {
    const { length } = view
    owners.delete(view)
    return owner.adopt(moveBuffer(view), length)
  }
  if (owner === LENT) owners.set(view, SPENT)
  return view
}

/** Marks data that no pool has as made by a stage of this package: its record has one consumer. */
export function lend(view: Uint8Array): Uint8Array {
  if (!owners.has(view)) owners.set(view, LENT)
  return view
}

/**
 * Checks that no consumer has had a record's data: what the reader and q4k make is passed on once, small records as
 * well as those whose buffers are used again. Data that a user's stage made is that stage's to pass on as it likes.
 * @throws AprError `APR_BAD_RECORD`
 */
export function checkNotSpent({ name, size, data }: TensorRecord): void {
  if (size > 0 && (data.length === 0 || owners.get(data) === SPENT)) throw gone(name)
}

function gone(tensor: string): AprError {
  const what =
    'expected a record with bytes, found one whose data is gone: a record passed on twice needs a copy (data.slice())'
  return new AprError('APR_BAD_RECORD', what, { tensor })
}

/**
 * Takes a view out of its pool's hands, to be changed or transferred.
 * @returns the pool, which may adopt the buffer again; undefined where the view is not a pool's
 */
export function disown(view: Uint8Array): BufferPool | undefined {
  const pool = owners.get(view)
  if (!(pool instanceof BufferPool)) return undefined
  owners.delete(view)
  return pool
}

/** Gives a buffer back to its pool, if it has one. */
export function release(view: Uint8Array): void {
  const owner = owners.get(view)
  if (owner === LENT) owners.set(view, SPENT)
  if (!(owner instanceof BufferPool)) return
  owners.delete(view)
  owner.put(view)
}

function moveBuffer(view: Uint8Array): ArrayBuffer {
  const buffer = view.buffer as ArrayBuffer
  return structuredClone(buffer, { transfer: [buffer] })
}

function capacityFor(size: number): number {
  let capacity = MIN_CLASS_BYTES
  while (capacity + SLACK_BYTES < size) capacity *= 2
  return capacity + SLACK_BYTES
}
