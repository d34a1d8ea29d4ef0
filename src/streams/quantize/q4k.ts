import { formatOf } from '../../formats/formats.js'
import type { Fit } from '../../quant/kernel.js'
import { decide, type Decision, type Kept, type Select } from '../../quant/policy.js'
import type { Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import { checkOptions, type Checked } from '../../options/check.js'
import { Q4K_OPTIONS } from '../../options/table.js'
import { isSameTensor } from '../../records/arrived-tensors.js'
import { sourceRanges } from '../../records/record-runs.js'
import { oncePerModel } from '../changed-model.js'
import type { TensorTransform } from '../face.js'
import type { TensorRange } from '../stage.js'
import { isConverted, isQuantized, type Quantization, type Quantized, type TensorTarget } from './quantization.js'
import { quantizeStage } from './stage.js'

export interface Q4KOptions {
  /**
   * `search` gives llama.cpp's bytes, `minmax` those of `apr quantize`: faster and worse; `refined` has the least error.
   * Default `search`.
   */
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

/**
 * Quantizes tensors to Q4_K, record by record; the others pass, as the dtype that `kept` says.
 *
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error `APR_BAD_VALUE` for NaN and infinity in a tensor
 *   that is to be quantized, `APR_BAD_RECORD` for records of one tensor with a gap between them inside a super-block,
 *   `APR_BAD_OPTION` when `select` returns anything but true or false
 */
export function q4k(options: Q4KOptions = {}): TensorTransform {
  const quantization = new Q4KQuantization(checkOptions(options, Q4K_OPTIONS))
  return quantizeStage(() => quantization)
}

/** What `q4k(options)` does, without its stream. */
export class Q4KQuantization implements Quantization {
  readonly options: CheckedQ4KOptions
  readonly of: (model: Model) => Quantized
  readonly cure = cure

  constructor(options: CheckedQ4KOptions) {
    this.options = options
    this.of = oncePerModel((model) => {
      const format = formatOf(model)
      const decisions = new Map(model.tensors.map((tensor) => [tensor.name, decide(tensor, options, format)]))
      const all = [...decisions.values()]
      const tensors = Object.freeze(all.map(({ to }) => to))
      return { model: format.withQuantized(model, tensors, all.some(isQuantized)), decisions }
    })
  }

  get version(): string {
    return this.options.fit
  }

  get threads(): number | undefined {
    return this.options.threads
  }

  get highWaterMark(): number | undefined {
    return this.options.highWaterMark
  }

  derive(model: Model): Model {
    return this.of(model).model
  }

  targetOf(tensor: TensorInfo, model: Model): TensorTarget {
    const { from, to } = this.#decisionOf(tensor, model)
    if (!isConverted({ from, to })) return { to }
    return { to, conversion: { fit: this.options.fit, isLenient: !isQuantized({ from, to }) } }
  }

  #decisionOf(tensor: TensorInfo, model: Model): Decision {
    const announced = this.of(model).decisions.get(tensor.name) as Decision | undefined
    if (announced && isSameTensor(announced.from, tensor)) return announced
    return decide(tensor, this.options, formatOf(model))
  }

  needs(ranges: readonly TensorRange[], model: Model): TensorRange[] {
    const { decisions } = this.of(model)
    return ranges.flatMap((range) => {
      const decision = decisions.get(range.name)
      return decision === undefined ? [] : sourceRanges(decision.from, decision.to, range)
    })
  }
}

const LEAVE_OUT = 'leave the tensor out with `select`'

/** What helps. A tensor that is left out becomes F32, unless told otherwise: no help where F32 cannot hold the value. */
function cure(value: number, to: TensorInfo): string {
  if (!Number.isFinite(value)) return LEAVE_OUT
  const keep = "keep its dtype with `kept: 'same'`"
  return to.dtype === 'Q4_K' ? `${LEAVE_OUT}, and ${keep}` : keep
}
