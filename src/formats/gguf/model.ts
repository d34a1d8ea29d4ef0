/** A GGUF model: typed key-value pairs in order, and tensors. */
import type { ModelOf } from '../../model/model.js'
import type { Kv } from './kv.js'

/** A whole model but for its data. */
export interface GgufModel extends ModelOf<'gguf'> {
  /** In the order of the file. The three `split.*` keys of a split file are not among them. */
  readonly kvs: readonly Kv[]
}

declare module '../../model/model.js' {
  interface Models {
    gguf: GgufModel
  }
}
