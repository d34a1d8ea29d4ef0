/**
 * The two models that are compared, and how their tensors are named alike: a model with Hugging Face's names is taken as
 * the one that GGUF is made of it, where the other has GGUF's.
 */
import { readConfig } from '../../convert/config/read-config.js'
import type { HfModel } from '../../convert/hf-model.js'
import { hfModelOf } from '../../convert/hf-source.js'
import { planTensors } from '../../convert/plan-tensors.js'
import type { TargetTensor } from '../../convert/tensor-plan.js'
import { readConfigFolder } from '../../files/config-folder.js'
import type { OpenedModel } from '../../formats/format.js'
import { AprError, located } from '../../model/errors.js'
import { elementCount, isPlaceholder, type TensorInfo } from '../../model/tensor.js'
import { isDecodable } from '../../quant/decode.js'
import type { UnmatchedTensor } from '../../quality/report-data.js'
import type { TensorPair } from '../../quality/report.js'
import { hasGgufNames } from '../../quality/tensor-names.js'
import type { MatrixPlace } from '../../recipes/settings.js'

/** One of the two. */
export interface Side {
  readonly opened: OpenedModel
  /** As the other has them: those that GGUF has of them, or its own. */
  readonly tensors: readonly TensorInfo[]
  /** What GGUF's tensors are made of; undefined where they are its own. */
  readonly targets: readonly TargetTensor[] | undefined
}

export interface Sides {
  readonly a: Side
  readonly b: Side
}

/**
 * @param config a folder with `config.json`, for a model with Hugging Face's names that comes without
 * @throws AprError for a model that GGUF cannot be made of
 */
export async function sidesOf(a: OpenedModel, b: OpenedModel, config: string | undefined): Promise<Sides> {
  const [isGgufA, isGgufB] = [a, b].map(({ model }) => hasGgufNames(model.tensors.map(({ name }) => name)))
  const needsGguf = isGgufA !== isGgufB
  return {
    a: needsGguf && isGgufB ? await ggufSide(a, config) : ownSide(a),
    b: needsGguf && isGgufA ? await ggufSide(b, config) : ownSide(b),
  }
}

function ownSide(opened: OpenedModel): Side {
  return { opened, tensors: opened.model.tensors, targets: undefined }
}

async function ggufSide(opened: OpenedModel, config: string | undefined): Promise<Side> {
  const hf = await hfOf(opened, config)
  return located({ file: opened.input.name }, () => {
    const targets = planTensors(readConfig(hf), hf, exactOuttype(hf)).tensors
    return { opened, tensors: targets.map(({ tensor }) => tensor), targets }
  })
}

async function hfOf({ model, input }: OpenedModel, config: string | undefined): Promise<HfModel> {
  const folder = config === undefined ? undefined : await readConfigFolder(config)
  return located({ file: input.name }, () => {
    const hf = hfModelOf(model, folder)
    if (!('kvs' in hf)) return hf
    throw new AprError('APR_UNSUPPORTED', "expected a model with Hugging Face's names, found one that came of GGUF")
  })
}

/** A dtype that holds all weights as they are: their own where they have one, F32 where not. */
function exactOuttype({ tensors, fromFp8 }: HfModel): 'f32' | 'f16' | 'bf16' {
  const dtypes = new Set(tensors.filter(({ shape }) => shape.length > 1).map(({ dtype }) => dtype))
  if (dtypes.size !== 1 || (fromFp8?.size ?? 0) > 0) return 'f32'
  return dtypes.has('F16') ? 'f16' : dtypes.has('BF16') ? 'bf16' : 'f32'
}

/** Tensors of one name and shape, in the order of `a`, and those that are in one alone. */
export interface Matched {
  readonly pairs: readonly TensorPair[]
  readonly onlyInA: readonly UnmatchedTensor[]
  readonly onlyInB: readonly UnmatchedTensor[]
}

export function match({ a, b }: Sides, select: (tensor: TensorInfo) => boolean): Matched {
  const chosen = a.tensors.filter((tensor) => !isPlaceholder(tensor) && select(tensor))
  const others = new Map(
    b.tensors.filter((tensor) => !isPlaceholder(tensor) && select(tensor)).map((tensor) => [tensor.name, tensor]),
  )
  const pairs: TensorPair[] = []
  const onlyInA: UnmatchedTensor[] = []
  const onlyInB: UnmatchedTensor[] = []
  for (const tensor of chosen) {
    const { name } = tensor
    const other = others.get(name)
    others.delete(name)
    if (!other) onlyInA.push(unmatched(tensor, 'missing'))
    else if (!isSameShape(tensor, other)) {
      onlyInA.push(unmatched(tensor, 'shape'))
      onlyInB.push(unmatched(other, 'shape'))
    } else if (!isDecodable(tensor.dtype) || !isDecodable(other.dtype)) {
      onlyInA.push(unmatched(tensor, 'dtype'))
      onlyInB.push(unmatched(other, 'dtype'))
    } else pairs.push({ name, a: tensor, b: other })
  }
  onlyInB.push(...[...others.values()].map((tensor) => unmatched(tensor, 'missing')))
  return { pairs, onlyInA, onlyInB }
}

function unmatched({ name, dtype, shape }: TensorInfo, reason: UnmatchedTensor['reason']): UnmatchedTensor {
  return { name, dtype, shape, reason }
}

/** Dimensions of 1 at the front change nothing. */
function isSameShape(one: TensorInfo, other: TensorInfo): boolean {
  const [a, b] = [one, other].map(({ shape }) => shape.join(',').replace(/^(1,)+/, ''))
  return a === b
}

/** Where an importance matrix, which has GGUF's names, tells of a tensor of these names. */
export async function matrixPlaces(
  { opened, tensors, targets }: Side,
  config: string | undefined,
): Promise<(name: string) => MatrixPlace | undefined> {
  if (targets ?? hasGgufNames(tensors.map(({ name }) => name))) return (name) => ({ entry: name, matrix: 0 })
  const hf = await hfOf(opened, config)
  const plain = hf.tensors.map((tensor): TensorInfo => ({ ...tensor, dtype: 'F16' }))
  const plan = located({ file: opened.input.name }, () => planTensors(readConfig(hf), { ...hf, tensors: plain }, 'f16'))
  const places = new Map<string, MatrixPlace>()
  for (const { tensor, pieces } of plan.tensors) {
    const matrixElements = Math.max(1, elementCount(tensor.shape.slice(-2)))
    for (const { source, to, order } of pieces) {
      if (order?.kind !== 'transpose')
        places.set(source, { entry: tensor.name, matrix: Math.floor(to / matrixElements) })
    }
  }
  return (name) => places.get(name)
}
