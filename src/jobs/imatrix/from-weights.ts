/** The importance of an opened model's columns, from its weights. */
import type { Piece } from '../../convert/tensor-plan.js'
import { hfModelOf } from '../../convert/hf-source.js'
import { toGgufModel } from '../../convert/to-gguf.js'
import { prepareModelCards } from '../../convert/general/model-card.js'
import { readConfigFolder } from '../../files/config-folder.js'
import type { OpenedModel } from '../../formats/format.js'
import type { GgufModel } from '../../formats/formats.js'
import type { Model } from '../../model/model.js'
import { located } from '../../model/errors.js'
import { elementCount, type TensorInfo } from '../../model/tensor.js'
import { momentsOf, weightedTensors, type Moments } from '../../recipes/moments/moments.js'
import { networkOf, type Network } from '../../recipes/moments/network.js'
import type { Progress } from '../job.js'
import { ModelWeights, type PiecesOf, type ReadingOptions } from './read-weights.js'

export interface WeightsOptions {
  /** Name of the pre-tokenizer, and a folder with what the model lacks, as of a conversion to GGUF. */
  readonly pre?: string | undefined
  readonly config?: string | undefined
}

/** What is known before a weight is read. */
export interface ImportanceOfWeights {
  /** Tensors that get values, by GGUF's names, in the order in which they get them. */
  readonly tensors: readonly TensorInfo[]
  /** Tensors that are read for them, and their bytes. */
  readonly readTensors: number
  readonly readBytes: number
  /** Reads the weights. */
  values(options: ReadingOptions): AsyncIterable<Moments>
}

/**
 * Looks at a model, and reads none of its tensors.
 * @throws AprError `APR_UNSUPPORTED` for an architecture that is not known, and all that keeps a model from becoming GGUF
 */
export async function importanceOfWeights(opened: OpenedModel, options: WeightsOptions): Promise<ImportanceOfWeights> {
  const { gguf, piecesOf } = await ggufFormOf(opened, options)
  const network = located({ file: opened.input.name }, () => networkOf(gguf))
  return {
    tensors: weightedTensors(network),
    ...readOf(network, piecesOf, opened.model),
    values: (reading) => momentsOf(network, new ModelWeights(opened, piecesOf, reading)),
  }
}

/** A model as GGUF has it, and what of the source its tensors are made of. */
export interface GgufForm {
  readonly gguf: GgufModel
  readonly piecesOf: PiecesOf
}

/** @throws AprError for all that keeps a model from becoming GGUF */
export async function ggufFormOf({ model, input }: OpenedModel, { pre, config }: WeightsOptions): Promise<GgufForm> {
  const folder = config === undefined ? undefined : await readConfigFolder(config)
  await prepareModelCards()
  return located({ file: input.name }, () => {
    const hf = hfModelOf(model, folder)
    if ('kvs' in hf) return { gguf: hf, piecesOf: (tensor) => [whole(tensor)] }
    const { model: gguf, targets = [] } = toGgufModel(model, { outtype: 'auto', pre, config: folder })
    const pieces = new Map(targets.map((target): [string, readonly Piece[]] => [target.tensor.name, target.pieces]))
    return { gguf, piecesOf: ({ name }) => pieces.get(name) ?? [] }
  })
}

function whole({ name, shape }: TensorInfo): Piece {
  return { source: name, from: 0, elements: elementCount(shape), to: 0 }
}

function readOf(
  { embedding, layers }: Network,
  piecesOf: PiecesOf,
  { tensors }: Model,
): Pick<ImportanceOfWeights, 'readTensors' | 'readBytes'> {
  const sizes = new Map(tensors.map(({ name, size, shape }) => [name, size / elementCount(shape)]))
  const read = layers.flatMap((layer) => {
    const { attentionNorm, value, valueBias, attentionOutput, attentionOutputBias } = layer
    const { feedForwardNorm, gate, up, down } = layer
    const biases = [valueBias, attentionOutputBias].filter((bias) => bias !== undefined)
    return [attentionNorm, value, attentionOutput, ...biases, feedForwardNorm, gate, up, down]
  })
  const all = [embedding, ...read]
  const pieces = all.flatMap((tensor) => piecesOf(tensor))
  const readBytes = pieces.reduce((sum, { source, elements }) => sum + elements * (sizes.get(source) ?? 0), 0)
  return { readTensors: all.length, readBytes: Math.round(readBytes) }
}

/** Reports how much of the weights was read. */
export function weighing(
  { readTensors: totalTensors, readBytes: totalBytes }: ImportanceOfWeights,
  onProgress: (progress: Progress) => void,
): NonNullable<ReadingOptions['onRead']> {
  let bytes = 0
  let tensors = 0
  return ({ name }, count, isEnd) => {
    bytes += count
    if (isEnd) tensors++
    onProgress({ phase: 'weighing', bytes, totalBytes, tensors, totalTensors, tensor: name })
  }
}
