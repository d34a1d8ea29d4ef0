/** What of a model its second moments are carried through: the tensors of each layer, by GGUF's names. */
import { arrayElements, findKv, kvValue, type GgufModel } from '../../formats/formats.js'
import { AprError, printable } from '../../model/errors.js'
import { columnsOf, matricesOf, rowsOf, type TensorInfo } from '../../model/tensor.js'
import { hyperparametersOf } from '../hyperparameters.js'

/** Architectures in which a layer adds attention and a gated feed-forward part to what it gets, norms before each. */
const ARCHITECTURES = ['llama', 'qwen2', 'qwen3', 'qwen3moe']

export interface Network {
  readonly embedding: TensorInfo
  readonly layers: readonly Layer[]
}

export interface Layer {
  readonly attentionNorm: TensorInfo
  readonly query: TensorInfo
  readonly key: TensorInfo
  readonly value: TensorInfo
  readonly valueBias: TensorInfo | undefined
  readonly attentionOutput: TensorInfo
  readonly attentionOutputBias: TensorInfo | undefined
  /** Elements of a head of values, and query heads that read each. */
  readonly headElements: number
  readonly queriesPerHead: number
  readonly feedForwardNorm: TensorInfo
  readonly gate: TensorInfo
  readonly up: TensorInfo
  readonly down: TensorInfo
  /** Matrices of each of the three, and how many of them a token goes through: 1 and 1 without experts. */
  readonly experts: number
  readonly expertsUsed: number
}

/**
 * @throws AprError `APR_UNSUPPORTED` for a model of another architecture, `APR_BAD_INDEX` for one that lacks a tensor or has
 *   one of another shape
 */
export function networkOf(model: GgufModel): Network {
  const { architecture, layers } = hyperparametersOf(model)
  if (!ARCHITECTURES.includes(architecture)) {
    const what = `expected a model of the architectures ${ARCHITECTURES.join(', ')}, whose second moments can be told from the weights, found ${printable(architecture)}`
    throw new AprError('APR_UNSUPPORTED', what)
  }
  const tensors = new Map(model.tensors.map((tensor) => [tensor.name, tensor]))
  const embedding = find(tensors, 'token_embd.weight')
  return {
    embedding,
    layers: Array.from({ length: layers }, (_, layer) => layerOf(model, architecture, tensors, layer)),
  }
}

function layerOf(
  model: GgufModel,
  architecture: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  layer: number,
): Layer {
  const number = (key: string): number | undefined => layersNumber(model, `${architecture}.${key}`, layer)
  const one = (name: string): TensorInfo => find(tensors, `blk.${layer}.${name}.weight`)
  const bias = (name: string): TensorInfo | undefined => tensors.get(`blk.${layer}.${name}.bias`)
  const heads = number('attention.head_count') ?? 0
  const valueHeads = number('attention.head_count_kv') ?? heads
  const value = one('attn_v')
  const attentionOutput = one('attn_output')
  const isOfExperts = tensors.has(`blk.${layer}.ffn_gate_exps.weight`)
  const [gate, up, down] = ['ffn_gate', 'ffn_up', 'ffn_down'].map((name) => one(isOfExperts ? `${name}_exps` : name))
  if (!gate || !up || !down) throw new Error('three names make three tensors')
  const experts = isOfExperts ? matricesOf(gate) : 1
  const found = {
    attentionNorm: one('attn_norm'),
    ...{ query: one('attn_q'), key: one('attn_k'), value, valueBias: bias('attn_v') },
    ...{ attentionOutput, attentionOutputBias: bias('attn_output') },
    headElements: rowsOf(value) / valueHeads,
    queriesPerHead: heads / valueHeads,
    feedForwardNorm: one('ffn_norm'),
    ...{ gate, up, down, experts },
    expertsUsed: isOfExperts ? (number('expert_used_count') ?? experts) : 1,
  }
  checkShapes(found)
  return found
}

/** A number of the model, or of a list with one a layer that of the layer. */
function layersNumber({ kvs }: GgufModel, key: string, layer: number): number | undefined {
  const pair = findKv(kvs, key)
  if (!pair) return undefined
  const value = pair.type === 'array' ? [...arrayElements(pair, layer + 1)][layer] : kvValue(pair)
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined
}

function find(tensors: ReadonlyMap<string, TensorInfo>, name: string): TensorInfo {
  const found = tensors.get(name)
  if (found) return found
  throw new AprError('APR_BAD_INDEX', 'expected this tensor in the model, found none', { tensor: name })
}

/** @throws AprError `APR_BAD_INDEX` for a tensor of another size than its neighbours */
function checkShapes(layer: Layer): void {
  const width = columnsOf(layer.query)
  const inner = rowsOf(layer.gate)
  const values = layer.headElements * layer.queriesPerHead * (rowsOf(layer.value) / layer.headElements)
  check(layer.attentionNorm, columnsOf(layer.attentionNorm), width)
  for (const tensor of [layer.key, layer.value]) check(tensor, columnsOf(tensor), width)
  check(layer.attentionOutput, columnsOf(layer.attentionOutput), values)
  check(layer.attentionOutput, rowsOf(layer.attentionOutput), width)
  check(layer.feedForwardNorm, columnsOf(layer.feedForwardNorm), width)
  for (const tensor of [layer.gate, layer.up]) check(tensor, columnsOf(tensor), width)
  check(layer.up, rowsOf(layer.up), inner)
  check(layer.down, columnsOf(layer.down), inner)
  check(layer.down, rowsOf(layer.down), width)
  for (const tensor of [layer.up, layer.down]) check(tensor, matricesOf(tensor), layer.experts)
  if (layer.valueBias) check(layer.valueBias, columnsOf(layer.valueBias), rowsOf(layer.value))
  if (layer.attentionOutputBias) check(layer.attentionOutputBias, columnsOf(layer.attentionOutputBias), width)
}

function check({ name, shape }: TensorInfo, found: number, expected: number): void {
  if (found === expected) return
  const what = `expected ${expected} where the tensor has ${found}, of the shape [${shape.join(', ')}]: its neighbours have other sizes`
  throw new AprError('APR_BAD_INDEX', what, { tensor: name })
}
