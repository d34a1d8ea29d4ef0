/** The recipes that there are, by the names that llama-quantize gives them. */
import { AprError } from '../model/errors.js'
import type { DType } from '../model/dtypes.js'
import { found } from '../model/found.js'
import type { BlockDType } from '../quant/block.js'
import type { WeightDType } from '../quant/kernel.js'

/** Dtypes that values can be made: those of blocks, and floats. */
export type TargetDType = BlockDType | WeightDType

interface Recipe {
  /** Its number, `general.file_type` of what it makes. */
  readonly fileType: number
  /** The dtype of every tensor that no rule gives another one. */
  readonly dtype: TargetDType
}

export const RECIPES = {
  Q2_K: { fileType: 10, dtype: 'Q2_K' },
  Q2_K_S: { fileType: 21, dtype: 'Q2_K' },
  Q3_K_S: { fileType: 11, dtype: 'Q3_K' },
  Q3_K_M: { fileType: 12, dtype: 'Q3_K' },
  Q3_K_L: { fileType: 13, dtype: 'Q3_K' },
  IQ4_XS: { fileType: 30, dtype: 'IQ4_XS' },
  IQ4_NL: { fileType: 25, dtype: 'IQ4_NL' },
  Q4_0: { fileType: 2, dtype: 'Q4_0' },
  Q4_1: { fileType: 3, dtype: 'Q4_1' },
  Q4_K_S: { fileType: 14, dtype: 'Q4_K' },
  Q4_K_M: { fileType: 15, dtype: 'Q4_K' },
  Q5_0: { fileType: 8, dtype: 'Q5_0' },
  Q5_1: { fileType: 9, dtype: 'Q5_1' },
  Q5_K_S: { fileType: 16, dtype: 'Q5_K' },
  Q5_K_M: { fileType: 17, dtype: 'Q5_K' },
  Q6_K: { fileType: 18, dtype: 'Q6_K' },
  Q8_0: { fileType: 7, dtype: 'Q8_0' },
  F16: { fileType: 1, dtype: 'F16' },
  BF16: { fileType: 32, dtype: 'BF16' },
  F32: { fileType: 0, dtype: 'F32' },
} as const satisfies Record<string, Recipe>

export type RecipeName = keyof typeof RECIPES

/** Other names of the same recipes. */
export const RECIPE_ALIASES = { Q3_K: 'Q3_K_M', Q4_K: 'Q4_K_M', Q5_K: 'Q5_K_M' } as const

/** Names as people may write them. */
export type RecipeText = RecipeName | keyof typeof RECIPE_ALIASES

export const RECIPE_NAMES = Object.keys(RECIPES) as readonly RecipeName[]

/** Recipes of llama-quantize whose block types nothing here makes. */
const OTHERS = /^(Q1_0|Q2_0|MXFP4_MOE|IQ1_[SM]|IQ2_(XXS|XS|S|M)|IQ3_(XXS|XS|S|M)|TQ[12]_0)$/

/** The recipe of a name or alias, in upper or lower case, or of a number; undefined where there is none. */
export function findRecipe(text: string): RecipeName | undefined {
  const upper = text.toUpperCase()
  if (Object.hasOwn(RECIPE_ALIASES, upper)) return RECIPE_ALIASES[upper as keyof typeof RECIPE_ALIASES]
  if (/^\d+$/.test(upper)) return RECIPE_NAMES.find((name) => RECIPES[name].fileType === Number(upper))
  return Object.hasOwn(RECIPES, upper) ? (upper as RecipeName) : undefined
}

/**
 * The same, of whatever a caller gives.
 * @throws AprError `APR_BAD_OPTION` for what is no recipe
 */
export function recipeNamed(text: unknown): RecipeName {
  const name = typeof text === 'string' ? findRecipe(text) : undefined
  if (name !== undefined) return name
  const isOther = typeof text === 'string' && OTHERS.test(text.toUpperCase())
  const what = `expected a recipe, one of ${RECIPE_NAMES.join(', ')}, found ${found(text)}`
  throw new AprError('APR_BAD_OPTION', isOther ? `${what}, whose block types are not made here` : what)
}

/** All that values can be made. */
export const TARGET_DTYPES: readonly TargetDType[] = [...new Set(Object.values(RECIPES).map(({ dtype }) => dtype))]

/** Whether values can be made this dtype. */
export function isTarget(dtype: DType): dtype is TargetDType {
  return (TARGET_DTYPES as readonly DType[]).includes(dtype)
}
