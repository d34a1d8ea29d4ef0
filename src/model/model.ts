/** Models: all of a file but its tensors' data. */
import type { TensorInfo } from './tensor.js'

/**
 * The formats that there are, by name. A format adds its model here, from its own folder:
 * `declare module '.../model/model.js' { interface Models { name: ItsModel } }`.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface Models {}

/** What every model has. Frozen, and shared by every record of a stream. */
export interface ModelOf<Name extends string> {
  readonly format: Name
  /** Every tensor of the stream. */
  readonly tensors: readonly TensorInfo[]
  /** The local file it comes from, or the files, so that a writer never replaces its own input. */
  readonly origin?: FileIdentity | undefined
}

/** A model of any format: `format` says which. */
export type Model = Models[keyof Models]

export type FormatName = Model['format']

/** Which file something is, whatever path or link leads to it. */
export interface FileIdentity {
  readonly device: bigint
  readonly inode: bigint
  /** Who may do what with it: nine permission bits. */
  readonly mode?: number | undefined
  /** Where something is several files: the others. */
  readonly others?: readonly FileIdentity[] | undefined
}
