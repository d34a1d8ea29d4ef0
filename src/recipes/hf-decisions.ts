/** The decisions of a recipe on a model of any format: those on its GGUF form, told of the tensors that it has. */
import { readConfig } from '../convert/config/read-config.js'
import type { HfModel } from '../convert/hf-model.js'
import { hfModelOf, type ConfigFolder } from '../convert/hf-source.js'
import { hparamKvs } from '../convert/hparams.js'
import { planTensors } from '../convert/plan-tensors.js'
import type { Piece } from '../convert/tensor-plan.js'
import { APR_DTYPES, kv, type GgufModel } from '../formats/formats.js'
import { DTYPES, type DType } from '../model/dtypes.js'
import type { Model } from '../model/model.js'
import { elementCount, isPlaceholder, type TensorInfo } from '../model/tensor.js'
import { categoryOf } from './categories.js'
import { chooseAll, type Choice } from './choose.js'
import { decideRecipe, retyped, settle } from './decide.js'
import { fitsRows } from './fallback.js'
import type { TargetDType } from './names.js'
import { RecipeProblems } from './problems.js'
import type { MatrixPlace, RecipeDecision, RecipeSettings } from './settings.js'

/** The output projection's name; a tied model may have a copy of its embedding under it. */
const HEAD_NAME = 'lm_head.weight'
const EMBEDDING_NAME = 'token_embd.weight'

/** What was chosen for the tensor that another one is, or is a part of, in GGUF. */
interface Named {
  readonly choice: Choice
  readonly ggufName: string
  readonly place: MatrixPlace | undefined
}

/**
 * What a recipe makes of a model: of GGUF as llama-quantize does; of another format the same dtypes, by the names that its
 * tensors would have in GGUF, in the model's own order. In APR, rows of matrices are filled up to whole super-blocks.
 * @param config `config.json` and what stands beside it, for a model that comes without
 * @throws AprError `APR_UNSUPPORTED` that lists all that keeps the recipe from being made, dtypes that the format does not
 *   hold among it, and for a model that GGUF cannot be made of
 */
export function decideModel(model: Model, settings: RecipeSettings, config?: ConfigFolder): readonly RecipeDecision[] {
  if (model.format === 'gguf') return decideRecipe(model, settings)
  const padsMatrices = model.format === 'apr'
  // A table of embeddings is read as one run of elements, which padding would break.
  const pads = (ggufName: string): boolean => padsMatrices && categoryOf(ggufName) !== 'token_embd'
  const fits = (tensor: TensorInfo, dtype: TargetDType): boolean => fitsRows(tensor, dtype, pads(tensor.name))
  const named = namedChoices(model, settings, fits, config)
  const held: readonly DType[] = padsMatrices ? APR_DTYPES : ['F32', 'F16', 'BF16']
  const problems = new RecipeProblems(settings)
  const decisions = model.tensors.map((from): RecipeDecision => {
    const found = named.get(from.name) ?? (from.name === HEAD_NAME ? named.get(EMBEDDING_NAME) : undefined)
    if (isPlaceholder(from)) return kept(from, 'it stands for another tensor')
    if (!found) return kept(from, 'nothing in GGUF is made of it')
    const { choice, ggufName, place } = found
    const { dtype, reason, rule } = settle(from, choice, { problems, padsRows: pads(ggufName), ggufName })
    if (dtype !== from.dtype && !held.includes(dtype)) problems.unheld(from, dtype)
    return { from, to: retyped(from, dtype, from.shape), reason, rule, place }
  })
  problems.check()
  return decisions
}

function kept(from: TensorInfo, rule: string): RecipeDecision {
  return { from, to: from, reason: 'excluded', rule }
}

/** By the model's own names; also under `token_embd.weight`. */
function namedChoices(
  model: Model,
  settings: RecipeSettings,
  fits: (tensor: TensorInfo, dtype: TargetDType) => boolean,
  config: ConfigFolder | undefined,
): ReadonlyMap<string, Named> {
  const source = hfModelOf(model, config)
  const { gguf, piecesOf } = 'kvs' in source ? { gguf: source, piecesOf: undefined } : ggufForm(source)
  const named = new Map<string, Named>()
  for (const { tensor, choice } of chooseAll(gguf, settings, fits)) {
    const ggufName = tensor.name
    const whole: Named = { choice, ggufName, place: { entry: ggufName, matrix: 0 } }
    const pieces = piecesOf?.get(ggufName) ?? []
    if (!piecesOf || ggufName === EMBEDDING_NAME) named.set(ggufName, whole)
    for (const piece of pieces) {
      const one = { choice, ggufName, place: placeOf(piece, tensor) }
      named.set(piece.source, finer(named.get(piece.source), one))
    }
  }
  return named
}

/** A tensor that becomes several: it gets the dtype of most bits that one of them gets. */
function finer(one: Named | undefined, other: Named): Named {
  if (!one) return other
  const bits = ({ choice: { dtype } }: Named): number => {
    return dtype === undefined ? Infinity : DTYPES[dtype].blockBytes / DTYPES[dtype].blockElements
  }
  return bits(other) > bits(one) ? other : one
}

/** Which matrix of an entry tells of the columns of a piece: of one that is transposed none does. */
function placeOf({ to, order }: Piece, { name, shape }: TensorInfo): MatrixPlace | undefined {
  if (order?.kind === 'transpose') return undefined
  return { entry: name, matrix: Math.floor(to / Math.max(elementCount(shape.slice(-2)), 1)) }
}

/** A model as far as recipes look at it, and what its tensors are made of. */
function ggufForm(hf: HfModel): { gguf: GgufModel; piecesOf: ReadonlyMap<string, readonly Piece[]> } {
  const found = readConfig(hf)
  const { name } = found.architecture
  // Of which dtype they are does not count here.
  const tensors = hf.tensors.map((tensor): TensorInfo => {
    const { kind } = DTYPES[tensor.dtype]
    return kind === 'float' || kind === 'quantized' ? { ...tensor, dtype: 'F16' } : tensor
  })
  const { tensors: targets, fileType } = planTensors(found, { ...hf, tensors }, 'f16')
  const kvs = [kv('general.architecture', 'string', name), ...hparamKvs(found, fileType)]
  return {
    gguf: { format: 'gguf', tensors: targets.map(({ tensor }) => tensor), kvs },
    piecesOf: new Map(targets.map(({ tensor, pieces }) => [tensor.name, pieces])),
  }
}
