/** What a stage that converts makes of a model, before any of its data: also what a plan tells. */
import type { GgufConversion, GgufOptions } from '../../convert/to-gguf.js'
import { toGgufModel } from '../../convert/to-gguf.js'
import type { Model } from '../../model/model.js'
import { tensorBytes } from '../../model/tensor.js'
import { oncePerModel } from '../changed-model.js'
import type { StageShape, TensorRange } from '../stage.js'

/** What `toGguf(options)` does, without its stream: the one source of what a plan tells, and of what a job does. */
export class GgufStage implements StageShape {
  /** What becomes of a model: its pairs, its tensors, and what these are made of. */
  readonly of: (model: Model) => GgufConversion

  constructor(options: GgufOptions) {
    this.of = oncePerModel((model) => toGgufModel(model, options))
  }

  derive(model: Model): Model {
    return this.of(model).model
  }

  needs(ranges: readonly TensorRange[], model: Model): TensorRange[] {
    const { targets } = this.of(model)
    if (!targets) return [...ranges]
    const byName = new Map(targets.map((target) => [target.tensor.name, target]))
    const sources = new Map(model.tensors.map((tensor) => [tensor.name, tensor]))
    return ranges.flatMap(({ name, start, end }) => {
      const target = byName.get(name)
      if (!target) return []
      const bytes = tensorBytes(target.tensor.dtype, [])
      return target.pieces.flatMap(({ source, from, elements, to, order }) => {
        // Whole blocks, where rows change their places.
        const unit = order ? order.rows * order.cols : 1
        const first = Math.floor(Math.max(0, start / bytes - to) / unit) * unit
        const last = Math.min(elements, Math.ceil(Math.max(0, end / bytes - to) / unit) * unit)
        const tensor = sources.get(source)
        if (!tensor || first >= last) return []
        const sourceBytes = tensorBytes(tensor.dtype, [])
        return [{ name: source, start: (from + first) * sourceBytes, end: (from + last) * sourceBytes }]
      })
    })
  }
}
