/** Rules of `--tensor-type`, some of which may speak of dtypes that nothing here makes. */
import { DTYPES, type DType } from '../../model/dtypes.js'
import { AprError } from '../../model/errors.js'
import type { TensorInfo } from '../../model/tensor.js'
import { isTarget, RECIPES, type RecipeName } from '../names.js'
import { compileTypes, type TypeRule } from '../patterns.js'

/** A rule whose dtype may be any. */
export interface AnyTypeRule {
  readonly pattern: string
  readonly dtype: DType
}

/**
 * The rules that decide something: none where the recipe makes floats, and of dtypes that are not made none that finds a
 * tensor.
 * @throws AprError `APR_UNSUPPORTED` for a tensor that would get a dtype that is not made
 */
export function typeRules(
  rules: readonly AnyTypeRule[],
  recipe: RecipeName,
  tensors: readonly TensorInfo[],
): readonly TypeRule[] {
  if (DTYPES[RECIPES[recipe].dtype].kind === 'float') return []
  const made = rules.filter(isMade)
  if (made.length === rules.length) return made
  const ruleOf = compileTypes(rules as readonly TypeRule[])
  for (const { name } of tensors) {
    const rule: AnyTypeRule | undefined = ruleOf(name)
    if (rule) checkTarget(rule.dtype, name)
  }
  return made
}

function isMade(rule: AnyTypeRule): rule is TypeRule {
  return isTarget(rule.dtype)
}

/** @throws AprError `APR_UNSUPPORTED` for a dtype that nothing here makes */
export function checkTarget(dtype: DType, tensor?: string): TypeRule['dtype'] {
  if (isTarget(dtype)) return dtype
  throw new AprError('APR_UNSUPPORTED', `expected a tensor type that is made here, found ${dtype}`, { tensor })
}
