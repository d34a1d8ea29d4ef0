/** A safetensors model: tensors in one file or in shards, and the files of its folder that say what they are. */
import type { ModelOf } from '../../model/model.js'

/**
 * A whole model but for its data. Its tensors stand in the order in which the shards are named, and in a shard by name:
 * as Hugging Face's tools take them.
 */
export interface SafetensorsModel extends ModelOf<'safetensors'> {
  /** `__metadata__` of the file, or of the first shard. */
  readonly metadata: Readonly<Record<string, string>>
  /** Name of the folder, without its path; '' where the input is none and stands in none. */
  readonly folder: string
  /** What stands beside the tensors, by name, as it stands there: `config.json`, the tokenizer's files, the model card. */
  readonly files: ReadonlyMap<string, Uint8Array>
  /** Names of weights that are stored in FP8 and were rounded as they were read: to BF16. */
  readonly fromFp8?: ReadonlySet<string> | undefined
}

declare module '../../model/model.js' {
  interface Models {
    safetensors: SafetensorsModel
  }
}
