/** What the q4k stage makes of a model, before any of its data: also what a plan tells. */
import { FLAGS } from '../formats/apr/header.js'
import { editedMetadataBytes, editMetadata, metadataValue } from '../formats/apr/metadata.js'
import type { Fit } from '../quant/kernel.js'
import { decide, type Decision, type Kept, type Select } from '../quant/policy.js'
import { elementCount, parameterCount, type AprModel } from '../model/tensor.js'
import { SUPER_BLOCK_ELEMENTS } from '../model/dtypes.js'
import { utf8Bytes } from '../model/utf8.js'
import type { Checked } from '../options/check.js'
import type { Q4K_OPTIONS } from '../options/table.js'

export interface Q4KOptions {
  /** `search` gives llama.cpp's bytes, `minmax` those of `apr quantize`: faster and worse. Default `search`. */
  fit?: Fit | undefined
  /**
   * Which tensors are quantized: returns true or false, and nothing else. Default `selectByDefault`. Integers and
   * K-quants stay whatever it says.
   */
  select?: Select | undefined
  /** The dtype of float tensors that are not quantized. Default `auto`: F32 and F16 stay, others become F32. */
  kept?: Kept | undefined
  /** Worker threads at the most. Default: the cores that are there for this process. Few data take fewer. */
  threads?: number | undefined
  /** Bytes of records under way in the threads at the most; at least one record a thread. Default 4 MiB a thread. */
  highWaterMark?: number | undefined
}

/** The same, checked. */
export type CheckedQ4KOptions = Checked<Q4KOptions, typeof Q4K_OPTIONS>

/** What the stage does to a model. */
export interface Quantized {
  readonly model: AprModel
  /** By the tensors' names. */
  readonly decisions: ReadonlyMap<string, Decision>
  /** Bytes of the model's metadata in UTF-8. */
  readonly metadataBytes: number
}

/** Metadata of a model with Q4_K tensors, as the reference writes it. */
const QUANTIZATION = { quant_type: 'q4_k', bits: 4, block_size: SUPER_BLOCK_ELEMENTS, symmetric: false }

/** A job asks more than once what becomes of its model. */
const lastQuantized = new WeakMap<AprModel, { options: CheckedQ4KOptions; quantized: Quantized }>()

/** What `q4k(options)` makes of a model: its tensors, flags and metadata. */
export function quantizeModel(model: AprModel, options: CheckedQ4KOptions): Quantized {
  const last = lastQuantized.get(model)
  if (last?.options === options) return last.quantized
  const quantized = deriveQuantized(model, options)
  lastQuantized.set(model, { options, quantized })
  return quantized
}

function deriveQuantized(model: AprModel, options: CheckedQ4KOptions): Quantized {
  const decisions = new Map(model.tensors.map((tensor) => [tensor.name, decide(tensor, options)]))
  const all = [...decisions.values()]
  const tensors = Object.freeze(all.map(({ to }) => to))
  const flags = model.flags | FLAGS.rowMajor
  if (!all.some(({ reason }) => reason === 'selected')) {
    const metadataBytes = utf8Bytes(model.metadata)
    return { model: Object.freeze({ ...model, tensors, flags }), decisions, metadataBytes }
  }
  const originalFormat = metadataValue(model.metadata, 'original_format')
  const changes = {
    quantization: QUANTIZATION,
    param_count: parameterCount(tensors),
    total_size: 0,
    ...((originalFormat === undefined || originalFormat === null) && { original_format: 'apr' }),
  }
  const metadata = editMetadata(model.metadata, changes)
  const metadataBytes = editedMetadataBytes(model.metadata, changes)
  return {
    model: Object.freeze({ ...model, tensors, metadata, flags: flags | FLAGS.quantized }),
    decisions,
    metadataBytes,
  }
}

/** Elements that are quantized or widened. */
export function convertedElements(decisions: readonly Decision[]): number {
  return decisions.reduce((sum, { from, to }) => sum + (from === to ? 0 : elementCount(from.shape)), 0)
}
