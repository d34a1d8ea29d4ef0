/** What flows through the streams. */
import type { Model } from './model.js'
import type { TensorInfo } from './tensor.js'

/** A run of consecutive bytes of one tensor: the one thing that flows through the streams. */
export interface TensorRecord extends TensorInfo {
  /** Where `data` starts inside the tensor, in bytes. */
  readonly offset: number
  /**
   * The bytes. They belong to the stage that holds the record: once a record is passed on, a later stage may reuse
   * their memory. A stage that wants to keep them copies them (`data.slice()`).
   */
  readonly data: Uint8Array
  /** The stream as it will be from here on. */
  readonly model: Model
}
