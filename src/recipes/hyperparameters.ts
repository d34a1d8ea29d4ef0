/** What the rules ask of a model beside its tensors. */
import { AprError, printable } from '../model/errors.js'
import { arrayElements, findKv, kvValue, type GgufModel, type Kv } from '../formats/formats.js'

export interface Hyperparameters {
  readonly architecture: string
  /** Blocks, those for the prediction of further tokens too. */
  readonly layers: number
  /** 0 for a model without. */
  readonly experts: number
  /** Query heads on each head of keys and values of the first layer, rounded down; 0 where it has no such heads. */
  readonly headsPerKv: number
  /** Whether llama.cpp calls it a 70B model, by its layers: then many query heads share few values. */
  readonly is70B: boolean
}

/** Of which number of layers each architecture's 70B model is. */
const LAYERS_OF_70B: Readonly<Record<string, number>> = {
  ...{ llama: 80, 'llama-embed': 80, qwen2: 80, deci: 80, olmo: 80, jais2: 68 },
}

/**
 * @param layersBefore blocks that the model had before some were left out; by default those that it has
 * @throws AprError `APR_BAD_METADATA` for a model that does not tell its architecture or layers
 */
export function hyperparametersOf({ kvs }: GgufModel, layersBefore?: number): Hyperparameters {
  const architecture = textOf(findKv(kvs, 'general.architecture'))
  if (architecture === undefined) throw lacking('general.architecture', 'the name of an architecture')
  const number = (key: string): number | undefined => firstNumber(findKv(kvs, `${architecture}.${key}`))
  // Encoders of images are the one kind that tells no layers.
  const told = number('block_count') ?? (architecture === 'clip' ? 0 : undefined)
  const blocks = layersBefore ?? told
  if (blocks === undefined) throw lacking(`${architecture}.block_count`, 'the number of layers')
  // llama.cpp takes its router for one more.
  const layers = architecture === 'granite-switch' ? blocks + 1 : blocks
  const heads = number('attention.head_count') ?? 0
  const kvHeads = number('attention.head_count_kv') ?? heads
  const experts = number('expert_count') ?? 0
  const isOfLlama = architecture === 'llama' || architecture === 'llama-embed'
  return {
    architecture,
    layers,
    experts,
    headsPerKv: kvHeads === 0 ? 0 : Math.floor(heads / kvHeads),
    is70B:
      layers - (number('nextn_predict_layers') ?? 0) === LAYERS_OF_70B[architecture] &&
      !(isOfLlama && heads === kvHeads),
  }
}

function textOf(pair: Kv | undefined): string | undefined {
  return pair?.type === 'string' ? String(kvValue(pair)) : undefined
}

/** A number, or the first of a list with one a layer. */
function firstNumber(pair: Kv | undefined): number | undefined {
  if (!pair) return undefined
  const value = pair.type === 'array' ? [...arrayElements(pair, 1)][0] : kvValue(pair)
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined
}

function lacking(key: string, what: string): AprError {
  return new AprError('APR_BAD_METADATA', `expected ${what} in "${printable(key)}", found none`)
}
