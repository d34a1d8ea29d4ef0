/** A model as Hugging Face folders hold it: all that decides the GGUF file made of it. */
import type { TensorInfo } from '../model/tensor.js'

export interface HfModel {
  /** The folder's name, without its path: names and sizes are read out of it. */
  readonly folder: string
  /** Tensors with Hugging Face's names, in the order in which the converter takes them. */
  readonly tensors: readonly TensorInfo[]
  /** `config.json`, `tokenizer.json`, `tokenizer_config.json`, `README.md`, ... by name, as they stand there. */
  readonly files: ReadonlyMap<string, Uint8Array>
  /** Names of tensors that were stored in FP8 and rounded to BF16. */
  readonly fromFp8?: ReadonlySet<string> | undefined
}

/** Of which dtype matrices become: `auto` is that of the first BF16 or F16 matrix, or F16. */
export type Outtype = 'auto' | 'f32' | 'f16' | 'bf16'

/** What was asked for. */
export interface ToGgufOptions {
  readonly outtype: Outtype
  /** The pre-tokenizer's name, where the vocabulary is none that is known. */
  readonly pre?: string | undefined
}
