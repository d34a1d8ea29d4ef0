/** What the tensors of a job's output are made of, by what its stages say of themselves. */
import type { OpenedModel } from '../../formats/format.js'
import type { Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { ReadImportance } from '../../parts/make.js'
import type { PartTensor, SourcePiece } from '../../parts/part-tensor.js'
import type { MatrixImportance, Quantization } from '../../streams/quantize/quantization.js'
import type { JobStage } from '../conversion/ways.js'

/** The stages of a job, and the models between them. */
export interface JobStages {
  readonly opened: OpenedModel
  /** Undefined where nothing is converted. */
  readonly way: JobStage | undefined
  /** What comes of that. */
  readonly converted: Model
  /** Undefined where nothing is quantized. */
  readonly quantization: Quantization | undefined
}

export interface JobTensors {
  /** @param tensor of the output */
  of(tensor: TensorInfo): PartTensor
  readonly importance: ReadImportance
}

export function jobTensors({ opened, way, converted, quantization }: JobStages): JobTensors {
  const placed = new Map(opened.tensors.map((one) => [one.tensor.name, one]))
  const targets = way?.targets(opened.model)
  const targetOf = targets && new Map(targets.map((target) => [target.tensor.name, target]))
  const fromOf = new Map(quantization ? converted.tensors.map((tensor) => [tensor.name, tensor]) : [])
  const importances = new Map<string, MatrixImportance>()

  const originOf = (name: string): PartTensor['origin'] => {
    if (!targetOf) return known(placed.get(name))
    const { pieces, made } = known(targetOf.get(name))
    return made ?? pieces.map((piece): SourcePiece => ({ piece, source: known(placed.get(piece.source)) }))
  }
  return {
    of(tensor) {
      const { name } = tensor
      const origin = originOf(name)
      if (!quantization) return { to: tensor, from: tensor, origin }
      const from = known(fromOf.get(name))
      const { to, conversion } = quantization.targetOf(from, converted)
      if (!conversion) return { to, from, origin }
      const { fit, isLenient = false, importance } = conversion
      if (importance) importances.set(name, importance)
      const cures = { finite: quantization.cure(0, to), infinite: quantization.cure(Infinity, to) }
      return { to, from, origin, conversion: { fit, isLenient, isWeighted: importance !== undefined, cures } }
    },
    importance: ({ to }, first, count) => known(importances.get(to.name)).read(first, count),
  }
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a tensor of the output is made of tensors of the input')
  return value
}
