/** What llama-quantize does to a model before its recipe, and behind it, as stages. */
import { findKv, kv, kvValue, type GgufModel, type Kv } from '../../formats/formats.js'
import { AprError, printable } from '../../model/errors.js'
import type { Model } from '../../model/model.js'
import { DTYPES } from '../../model/dtypes.js'
import type { TensorRecord } from '../../model/record.js'
import type { TensorInfo } from '../../model/tensor.js'
import { firstNotFinite } from '../../quant/runs/finite.js'
import { release } from '../../records/buffers.js'
import { withKvs } from '../../recipes/kvs.js'
import { copyModel } from '../../recipes/llama/copy-model.js'
import { kvsToDecideBy } from '../../recipes/llama/kv-overrides.js'
import { blockCount, pruneLayers } from '../../recipes/llama/prune-layers.js'
import { oncePerModel, withTensors } from '../../streams/changed-model.js'
import type { RecordStage } from '../../streams/stage.js'

/** What is changed of a model beside its dtypes. */
export interface ModelEdits {
  readonly overrides: readonly Kv[]
  /** Numbers of the blocks that are dropped. */
  readonly pruneLayers: readonly number[]
}

/** @throws AprError `APR_UNSUPPORTED` for a model of another format */
export function ggufOf(model: Model): GgufModel {
  if (model.format === 'gguf') return model
  throw new AprError('APR_UNSUPPORTED', `expected a GGUF model, found ${model.format}`)
}

/** The tensors that stay by the names that they had, each with the one that it has now. */
export function keptTensors({ tensors }: Model, layers: readonly number[]): ReadonlyMap<string, TensorInfo> {
  if (layers.length === 0) return new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const kept = Array.from(pruneLayers(tensors, layers), ([name, source]): [string, TensorInfo] => {
    const tensor = byName.get(source)
    if (!tensor) throw new Error(`a tensor ${name} comes from one that is there`)
    return [source, tensor.name === name ? tensor : Object.freeze({ ...tensor, name })]
  })
  return new Map(kept)
}

/** Drops blocks, and has the rules see what is overridden. */
export function sourceStage({ overrides, pruneLayers: layers }: ModelEdits): RecordStage {
  const keptOf = oncePerModel((model: Model) => keptTensors(model, layers))
  return {
    derive(model) {
      const kept = withTensors(ggufOf(model), [...keptOf(model).values()])
      return Object.freeze({ ...kept, kvs: Object.freeze(kvsToDecideBy(ggufOf(model).kvs, overrides)) })
    },
    convert(record, model) {
      const kept = keptOf(record.model).get(record.name)
      if (kept) return { ...record, name: kept.name, model }
      release(record.data)
      return undefined
    },
    needs(ranges, model) {
      const sources = new Map(Array.from(keptOf(model), ([source, { name }]) => [name, source]))
      return ranges.map((range) => ({ ...range, name: sources.get(range.name) ?? range.name }))
    },
  }
}

/**
 * Writes what is overridden, behind all that the recipe has written but for what it tells of an importance matrix.
 * @param importance what it tells of it
 */
export function overridesStage({ overrides, pruneLayers: layers }: ModelEdits, importance: readonly Kv[]): RecordStage {
  return modelStage((model) => {
    const counted = layers.length > 0 ? [kv(blockCountKey(model), 'u32', blockCount(model.tensors))] : []
    return Object.freeze({ ...model, kvs: withKvs(model.kvs, [...overrides, ...importance, ...counted]) })
  })
}

/** @param keepOrder whether the tensors stay in the order of the model */
export function copyStage(keepOrder: boolean): RecordStage {
  return modelStage((model) => copyModel(model, keepOrder))
}

/**
 * Looks at what is copied: llama-quantize passes on no NaN and no infinity either.
 * @throws AprError `APR_BAD_VALUE`
 */
export function checkFinite({ name, dtype, offset, data }: TensorRecord): void {
  const index = firstNotFinite(dtype, data)
  if (index === undefined) return
  const element = offset / DTYPES[dtype].blockBytes + index
  throw new AprError('APR_BAD_VALUE', 'expected finite numbers, found one that is not', { tensor: name, element })
}

/** A stage that leaves data as they are. */
function modelStage(derive: (model: GgufModel) => Model): RecordStage {
  const derived = oncePerModel((model: Model) => {
    const to = derive(ggufOf(model))
    return { to, shapes: new Map(to.tensors.map(({ name, shape }) => [name, shape])) }
  })
  return {
    derive: (model) => derived(model).to,
    convert: (record, model) => {
      return { ...record, shape: derived(record.model).shapes.get(record.name) ?? record.shape, model }
    },
    needs: (ranges) => [...ranges],
  }
}

/** @throws AprError `APR_BAD_METADATA` for a model that does not tell its architecture */
function blockCountKey({ kvs }: GgufModel): string {
  const pair = findKv(kvs, 'general.architecture')
  if (pair?.type === 'string') return `${String(kvValue(pair))}.block_count`
  const found = pair ? `a ${printable(pair.type)}` : 'none'
  throw new AprError('APR_BAD_METADATA', `expected a text in "general.architecture", found ${found}`)
}
