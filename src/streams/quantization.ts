/** What the q4k stage makes of a model, before any of its data: also what a plan tells. */
import { formatOf } from '../formats/formats.js'
import type { Fit } from '../quant/kernel.js'
import { decide, type Decision, type Kept, type Select } from '../quant/policy.js'
import type { Model } from '../model/model.js'
import { elementCount, type TensorInfo } from '../model/tensor.js'
import type { Checked } from '../options/check.js'
import type { Q4K_OPTIONS } from '../options/table.js'
import { isSameTensor } from '../records/arrived-tensors.js'
import { sourceRanges } from '../records/record-runs.js'
import { oncePerModel } from './changed-model.js'
import type { StageShape, TensorRange } from './stage.js'

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
  readonly model: Model
  /** By the tensors' names. */
  readonly decisions: ReadonlyMap<string, Decision>
}

/** What `q4k(options)` does, without its stream: the one source of what a plan tells, and of what a job does. */
export class Quantization implements StageShape {
  readonly options: CheckedQ4KOptions
  /** What becomes of a model: its tensors, flags and metadata. */
  readonly of: (model: Model) => Quantized

  constructor(options: CheckedQ4KOptions) {
    this.options = options
    this.of = oncePerModel((model) => {
      const format = formatOf(model)
      const decisions = new Map(model.tensors.map((tensor) => [tensor.name, decide(tensor, options, format)]))
      const all = [...decisions.values()]
      const tensors = Object.freeze(all.map(({ to }) => to))
      const isQuantized = all.some(({ reason }) => reason === 'selected')
      return { model: format.withQuantized(model, tensors, isQuantized), decisions }
    })
  }

  derive(model: Model): Model {
    return this.of(model).model
  }

  /** What becomes of a tensor of this model, which need not be as the model announces it. */
  tensorOf(tensor: TensorInfo, model: Model): TensorInfo {
    const announced = this.of(model).decisions.get(tensor.name)
    return (
      announced && isSameTensor(announced.from, tensor) ? announced : decide(tensor, this.options, formatOf(model))
    ).to
  }

  needs(ranges: readonly TensorRange[], model: Model): TensorRange[] {
    const { decisions } = this.of(model)
    return ranges.flatMap((range) => {
      const decision = decisions.get(range.name)
      return decision === undefined ? [] : sourceRanges(decision.from, decision.to, range)
    })
  }
}

/** Elements that are quantized or widened. */
export function convertedElements(decisions: readonly Decision[]): number {
  return decisions.reduce((sum, { from, to }) => sum + (from === to ? 0 : elementCount(from.shape)), 0)
}
