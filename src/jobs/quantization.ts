/** Which quantization a job does: that of a recipe, or Q4_K for what a rule selects. */
import type { LayoutOptions, OpenedModel } from '../formats/format.js'
import { AprError } from '../model/errors.js'
import type { FormatName, Model } from '../model/model.js'
import type { Checked, OptionRow } from '../options/check.js'
import { QUANTIZE_OPTIONS } from '../options/table.js'
import { formatByEnding, formatByName } from './conversion/ways.js'
import { recipeNamed } from '../recipes/names.js'
import { Q4KQuantization } from '../streams/quantize/q4k.js'
import type { Quantization } from '../streams/quantize/quantization.js'
import { openMatrix, openRecipe } from '../streams/quantize/recipe.js'
import type { TypeChoice } from '../recipes/budget/choice.js'
import { chooseTypes } from './budget/choose-types.js'
import { MomentsImportance } from './imatrix/moments-importance.js'
import type { QuantizeOptions } from './job.js'

const OF_Q4K = ['select', 'kept'] as const
const OF_RECIPES = [
  ...(['imatrix', 'types', 'outputType', 'embeddingType', 'pure', 'leaveOutput', 'allowRequantize'] as const),
  ...(['fallback', 'importance'] as const),
] as const

/**
 * @param options as they were given
 * @throws AprError `APR_BAD_OPTION` for options of the one kind of quantization where the other is asked for
 */
export function checkChoices(options: QuantizeOptions): void {
  const { targetBytes, bitsPerWeight } = options
  const isRecipe = options.recipe !== undefined || targetBytes !== undefined || bitsPerWeight !== undefined
  const others: readonly (typeof OF_Q4K | typeof OF_RECIPES)[number][] = isRecipe ? OF_Q4K : OF_RECIPES
  if (options.importance !== undefined && options.imatrix !== undefined) {
    throw new AprError('APR_BAD_OPTION', 'expected `imatrix` or `importance`, found both')
  }
  if (targetBytes !== undefined && bitsPerWeight !== undefined) {
    throw new AprError('APR_BAD_OPTION', 'expected `targetBytes` or `bitsPerWeight`, found both')
  }
  if (isRecipe && options.pure === true && options.recipe === undefined) {
    throw new AprError('APR_BAD_OPTION', 'expected no `pure` where dtypes are chosen by their size, found both')
  }
  if (isRecipe && options.fit === 'minmax') {
    throw new AprError('APR_BAD_OPTION', 'expected the `fit` `search` or `refined` with `recipe`, found `minmax`')
  }
  // What is the default anyway changes nothing.
  const isAsked = (name: (typeof others)[number]): boolean =>
    options[name] !== undefined && options[name] !== (QUANTIZE_OPTIONS[name] as OptionRow).default
  const wrong = others.find(isAsked)
  if (wrong === undefined) return
  const expected = isRecipe ? `no \`${wrong}\` with \`recipe\`` : `\`recipe\` with \`${wrong}\``
  throw new AprError('APR_BAD_OPTION', `expected ${expected}, found ${isRecipe ? 'both' : 'none'}`)
}

/** A quantization, and how its dtypes were chosen where that was by a budget. */
export interface ChosenQuantization {
  readonly quantization: Quantization
  readonly choice?: TypeChoice
}

/**
 * What it reads from is to be closed.
 * @param opened whose weights importance may be computed from, and errors measured of
 * @param model what is quantized: the opened one, or what was made of it on the way
 * @param placeOf how the output is laid out, asked for where its size counts
 */
export async function quantizationOf(
  options: Checked<QuantizeOptions, typeof QUANTIZE_OPTIONS>,
  opened: OpenedModel,
  model: Model,
  placeOf: () => Promise<LayoutOptions>,
): Promise<ChosenQuantization> {
  const { recipe, importance: how, targetBytes, bitsPerWeight, signal } = options
  const isBudget = targetBytes !== undefined || bitsPerWeight !== undefined
  if (recipe === undefined && !isBudget) return { quantization: new Q4KQuantization(options) }
  const name = recipe === undefined ? undefined : recipeNamed(recipe)
  const recipeOptions = { ...options, fit: options.fit === 'refined' ? options.fit : ('search' as const) }
  const moments = how && (await MomentsImportance.of(opened, options))
  const importance = moments ? { matrix: moments, ...moments.origin } : await openMatrix(options)
  try {
    if (!isBudget) return { quantization: await openRecipe(name ?? 'Q4_K_M', recipeOptions, importance) }
    const budget = { targetBytes, bitsPerWeight }
    const place = await placeOf()
    const choice = await chooseTypes(budget, {
      opened,
      model,
      place,
      recipe: name,
      options: recipeOptions,
      importance,
      signal,
    })
    return {
      quantization: await openRecipe(choice.recipe, { ...recipeOptions, types: choice.types }, importance),
      choice,
    }
  } catch (error) {
    await importance?.matrix.close()
    throw error
  }
}

/** The format of the output. Only a recipe can make a folder of safetensors, which holds floats alone. */
export function outputFormatOf(
  {
    to,
    recipe,
    targetBytes,
    bitsPerWeight,
  }: Pick<Checked<QuantizeOptions, typeof QUANTIZE_OPTIONS>, 'to' | 'recipe' | 'targetBytes' | 'bitsPerWeight'>,
  output: string,
  input: FormatName,
): FormatName {
  const isRecipe = recipe !== undefined || targetBytes !== undefined || bitsPerWeight !== undefined
  if (isRecipe) return to ?? formatByName(output) ?? 'gguf'
  return to ?? formatByEnding(output) ?? input
}
