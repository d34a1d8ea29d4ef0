/** What a recipe chooses for each tensor of a GGUF model, whether or not it fits. */
import { DTYPES } from '../model/dtypes.js'
import { compareNames } from '../model/names.js'
import type { TensorInfo } from '../model/tensor.js'
import type { GgufModel } from '../formats/formats.js'
import { categoryOf, keptBecause, layerOf, type Category } from './categories.js'
import { hyperparametersOf } from './hyperparameters.js'
import { RECIPES, type TargetDType } from './names.js'
import { compileTypes } from './patterns.js'
import { RuleBook } from './rules.js'
import type { RecipeReason, RecipeSettings } from './settings.js'

export interface Choice {
  /** Undefined: the tensor stays as it is. */
  readonly dtype?: TargetDType | undefined
  readonly reason: RecipeReason
  readonly rule: string
  /** Whether it stands where it does not fit: then the recipe cannot be made. */
  readonly isFixed?: boolean
  /** What keeps the rules from choosing. */
  readonly problem?: string
}

/**
 * One choice a tensor, in the order in which they are written.
 * @param fits whether the rows of a tensor can be of the recipe's default
 * @throws AprError `APR_BAD_OPTION` for a pattern that is none, `APR_BAD_METADATA` for a model that does not say what it is
 */
export function chooseAll(
  model: GgufModel,
  settings: RecipeSettings,
  fits: (tensor: TensorInfo, dtype: TargetDType) => boolean,
): readonly { readonly tensor: TensorInfo; readonly choice: Choice }[] {
  const chooser = new Chooser(model, settings, fits)
  const tensors = settings.keepOrder === true ? model.tensors : inWritingOrder(model.tensors)
  return tensors.map((tensor) => ({ tensor, choice: chooser.choose(tensor) }))
}

/** The rules count: each tensor is to be asked for once, in the order of writing. */
class Chooser {
  readonly #settings: RecipeSettings
  readonly #fits: (tensor: TensorInfo, dtype: TargetDType) => boolean
  readonly #rules: RuleBook
  readonly #isTied: boolean
  readonly #typeRule: ReturnType<typeof compileTypes>

  constructor(model: GgufModel, settings: RecipeSettings, fits: (tensor: TensorInfo, dtype: TargetDType) => boolean) {
    this.#settings = settings
    this.#fits = fits
    const categories = model.tensors.map(({ name }) => categoryOf(name))
    this.#isTied = !categories.includes('output')
    this.#typeRule = compileTypes(settings.types ?? [])
    this.#rules = new RuleBook({
      name: settings.name,
      hyperparameters: hyperparametersOf(model, settings.layersBefore),
      hasMatrix: settings.hasImportance !== undefined,
      values: categories.filter((category) => category === 'attn_v').length,
    })
  }

  choose(tensor: TensorInfo): Choice {
    const { name: recipe, pure, leaveOutput, outputType, embeddingType } = this.#settings
    const { name } = tensor
    const kept = keptBecause(tensor, leaveOutput === true)
    if (kept !== undefined) return { reason: 'excluded', rule: kept }
    const category = categoryOf(name)
    const typeRule = this.#typeRule(name)
    // The table of each layer's own embeddings is large enough to be spoken of by itself.
    const isNamed = name === 'per_layer_token_embd.weight' && typeRule !== undefined
    if (category === 'token_embd' && embeddingType !== undefined && !isNamed) {
      return { dtype: embeddingType, reason: 'option', rule: 'embeddingType', isFixed: true }
    }
    if (category === 'output' && outputType !== undefined) {
      return { dtype: outputType, reason: 'option', rule: 'outputType', isFixed: true }
    }
    const { dtype } = RECIPES[recipe]
    if (DTYPES[dtype].kind === 'float') return { dtype, reason: 'rule', rule: `default of ${recipe}` }
    if (typeRule) return { dtype: typeRule.dtype, reason: 'pattern', rule: typeRule.pattern }
    if (pure === true) return { dtype, reason: 'option', rule: 'pure' }
    return this.#byRule(tensor, category, dtype)
  }

  #byRule(tensor: TensorInfo, category: Category, dtype: TargetDType): Choice {
    const { outputType } = this.#settings
    const isOutput = category === 'output' || (category === 'token_embd' && this.#isTied)
    if (isOutput && outputType !== undefined) return { dtype: outputType, reason: 'option', rule: 'outputType' }
    try {
      const { name } = tensor
      return { ...this.#rules.choose({ name, category, isOutput, fits: this.#fits(tensor, dtype) }), reason: 'rule' }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      return { reason: 'rule', rule: '', problem: error.message }
    }
  }
}

/** llama-quantize's order: by the number of the block, what has none first, then by name. */
export function inWritingOrder(tensors: readonly TensorInfo[]): readonly TensorInfo[] {
  const withLayers = tensors.map((tensor) => ({ tensor, layer: layerOf(tensor.name) }))
  withLayers.sort((a, b) => a.layer - b.layer || compareNames(a.tensor.name, b.tensor.name))
  return withLayers.map(({ tensor }) => tensor)
}
