/** Which dtype each tensor gets, and why: all of it from the model alone, before a byte of data is read. */
import type { GgufModel } from '../formats/formats.js'
import type { DType } from '../model/dtypes.js'
import { tensorBytes, type TensorInfo } from '../model/tensor.js'
import { rankOf } from './categories.js'
import { chooseAll, type Choice } from './choose.js'
import { fallbackOf, fitsRows } from './fallback.js'
import { RecipeProblems } from './problems.js'
import type { RecipeDecision, RecipeSettings } from './settings.js'

/**
 * The decisions of llama-quantize on a GGUF model, in the order in which it writes: also its shapes, which have no first
 * dimensions of 1.
 * @throws AprError `APR_UNSUPPORTED` that lists all that keeps the recipe from being made, `APR_BAD_OPTION` for a pattern
 * that is none, `APR_BAD_METADATA` for a model that does not say what it is
 */
export function decideRecipe(model: GgufModel, settings: RecipeSettings): readonly RecipeDecision[] {
  const problems = new RecipeProblems(settings)
  const choices = chooseAll(model, settings, (tensor, dtype) => fitsRows(tensor, dtype, false))
  const decisions = choices.map(({ tensor, choice }) => {
    const { reason, rule, dtype } = settle(tensor, choice, { problems, padsRows: false, ggufName: tensor.name })
    const shape = tensor.shape.slice(-rankOf(tensor.shape))
    const place = { entry: tensor.name, matrix: 0 }
    return { from: tensor, to: retyped(tensor, dtype, shape), reason, rule, place }
  })
  problems.check()
  return decisions
}

interface Settling {
  readonly problems: RecipeProblems
  /** Whether rows of matrices are filled up to whole super-blocks. */
  readonly padsRows: boolean
  /** The name by which an importance matrix knows the tensor. */
  readonly ggufName: string
}

/** Makes a choice fit a tensor, and notes what keeps it from that. */
export function settle(
  tensor: TensorInfo,
  { dtype, reason, rule, isFixed = false, problem }: Choice,
  { problems, padsRows, ggufName }: Settling,
): Pick<RecipeDecision, 'reason' | 'rule'> & { readonly dtype: DType } {
  if (problem !== undefined) problems.nameless(tensor, problem)
  if (dtype === undefined) return { dtype: tensor.dtype, reason, rule }
  const isFitting = fitsRows(tensor, dtype, padsRows)
  if (!isFitting) problems.misfit(tensor, dtype, isFixed)
  const fitting = isFitting ? dtype : fallbackOf(tensor, dtype)
  problems.decided(tensor, fitting, ggufName)
  if (isFitting) return { dtype, reason, rule }
  const width = tensor.shape.at(-1) ?? 1
  return { dtype: fitting, reason: 'fallback', rule: `rows of ${width} are not whole blocks of ${dtype}` }
}

export function retyped(from: TensorInfo, dtype: DType, shape: readonly number[]): TensorInfo {
  if (dtype === from.dtype && shape.length === from.shape.length) return from
  return Object.freeze({ name: from.name, dtype, shape: Object.freeze(shape), size: tensorBytes(dtype, shape) })
}
