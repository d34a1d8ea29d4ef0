/** Which quantization a job does: that of a recipe, or Q4_K for what a rule selects. */
import type { OpenedModel } from '../formats/format.js'
import { AprError } from '../model/errors.js'
import type { FormatName } from '../model/model.js'
import type { Checked, OptionRow } from '../options/check.js'
import { QUANTIZE_OPTIONS } from '../options/table.js'
import { formatByEnding, formatByName } from './conversion/ways.js'
import { recipeNamed } from '../recipes/names.js'
import { Q4KQuantization } from '../streams/quantize/q4k.js'
import type { Quantization } from '../streams/quantize/quantization.js'
import { openRecipe } from '../streams/quantize/recipe.js'
import { MomentsImportance } from './imatrix/moments-importance.js'
import type { QuantizeOptions } from './job.js'

const OF_Q4K = ['fit', 'select', 'kept'] as const
const OF_RECIPES = [
  ...(['imatrix', 'types', 'outputType', 'embeddingType', 'pure', 'leaveOutput', 'allowRequantize'] as const),
  ...(['fallback', 'importance'] as const),
] as const

/**
 * @param options as they were given
 * @throws AprError `APR_BAD_OPTION` for options of the one kind of quantization where the other is asked for
 */
export function checkChoices(options: QuantizeOptions): void {
  const others: readonly (typeof OF_Q4K | typeof OF_RECIPES)[number][] =
    options.recipe === undefined ? OF_RECIPES : OF_Q4K
  if (options.importance !== undefined && options.imatrix !== undefined) {
    throw new AprError('APR_BAD_OPTION', 'expected `imatrix` or `importance`, found both')
  }
  // What is the default anyway changes nothing.
  const isAsked = (name: (typeof others)[number]): boolean =>
    options[name] !== undefined && options[name] !== (QUANTIZE_OPTIONS[name] as OptionRow).default
  const wrong = others.find(isAsked)
  if (wrong === undefined) return
  const expected = options.recipe === undefined ? `\`recipe\` with \`${wrong}\`` : `no \`${wrong}\` with \`recipe\``
  throw new AprError('APR_BAD_OPTION', `expected ${expected}, found ${options.recipe === undefined ? 'none' : 'both'}`)
}

/**
 * What it reads from is to be closed.
 * @param opened whose weights importance may be computed from
 */
export async function quantizationOf(
  options: Checked<QuantizeOptions, typeof QUANTIZE_OPTIONS>,
  opened: OpenedModel,
): Promise<Quantization> {
  const { recipe, importance } = options
  if (recipe === undefined) return new Q4KQuantization(options)
  const moments = importance && (await MomentsImportance.of(opened, options))
  return await openRecipe(recipeNamed(recipe), options, moments && { matrix: moments, ...moments.origin })
}

/** The format of the output. Only a recipe can make a folder of safetensors, which holds floats alone. */
export function outputFormatOf(
  { to, recipe }: Pick<Checked<QuantizeOptions, typeof QUANTIZE_OPTIONS>, 'to' | 'recipe'>,
  output: string,
  input: FormatName,
): FormatName {
  if (recipe !== undefined) return to ?? formatByName(output) ?? 'gguf'
  return to ?? formatByEnding(output) ?? input
}
