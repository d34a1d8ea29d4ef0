/** What a run of llama-quantize does, planned from what stands before the tensors alone. */
import type { GgufModel } from '../../formats/formats.js'
import type { Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { LostBlocks } from '../../quant/runs/run.js'
import { renamed, usesImportance, type Importance } from '../../recipes/importance/importance.js'
import { importanceKvs, type ImportanceOrigin } from '../../recipes/kvs.js'
import { typeRules, type AnyTypeRule } from '../../recipes/llama/type-rules.js'
import type { RecipeSettings } from '../../recipes/settings.js'
import type { TensorTransform } from '../../streams/face.js'
import { RecipeQuantization } from '../../streams/quantize/recipe.js'
import { quantizeStage } from '../../streams/quantize/stage.js'
import { tapRecords, toTransform } from '../../streams/stage.js'
import type { Progress } from '../job.js'
import { lossesOf } from '../warnings.js'
import { checkFinite, copyStage, ggufOf, keptTensors, overridesStage, sourceStage, type ModelEdits } from './stages.js'

export interface LlamaQuantizeOptions extends ModelEdits {
  /** Undefined: tensors stay as they are. */
  readonly recipe: Omit<RecipeSettings, 'types'> | undefined
  /** Dtypes by patterns, also such as nothing here makes: these may find no tensor. */
  readonly types: readonly AnyTypeRule[]
  /** An importance matrix, which is left open, and what is written of it. */
  readonly importance: (ImportanceOrigin & { readonly matrix: Importance }) | undefined
  /** Whether each part of a split model becomes one; else all become one file. */
  readonly keepSplit: boolean
  readonly threads: number | undefined
  /** Called once all is checked that can be without reading a tensor. */
  readonly onPlan?: ((tensors: readonly ChangedTensor[]) => void) | undefined
  /** Called with what is likely to disappoint, in a sentence. */
  readonly onWarning?: ((text: string) => void) | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** What becomes of a tensor, in the order of the output. */
export interface ChangedTensor {
  readonly from: TensorInfo
  readonly to: TensorInfo
  readonly reason: string
}

export interface PlannedRun {
  /** The model of the output. */
  readonly model: GgufModel
  readonly tensors: readonly ChangedTensor[]
  /** Between reader and writer. */
  readonly stages: () => readonly TensorTransform[]
}

/** @throws AprError for all that can be wrong with model and options */
export function planRun(model: Model, options: LlamaQuantizeOptions): PlannedRun {
  const { importance, recipe } = options
  const source = sourceStage(options)
  const overrides = overridesStage(options, importance ? importanceKvs(importance) : [])
  const started = ggufOf(source.derive(model))
  const { result, tensors, stages } = recipe ? planRecipe(started, model, recipe, options) : planCopy(started, options)
  return {
    model: ggufOf(overrides.derive(result)),
    tensors,
    stages: () => [toTransform(source), ...stages(), toTransform(overrides)],
  }
}

interface PlannedPart extends Pick<PlannedRun, 'tensors' | 'stages'> {
  readonly result: Model
}

function planCopy(model: GgufModel, { keepSplit }: LlamaQuantizeOptions): PlannedPart {
  const copy = copyStage(keepSplit)
  const result = copy.derive(model)
  const tensors = result.tensors.map((tensor) => ({ from: tensor, to: tensor, reason: 'copied' }))
  return { result, tensors, stages: () => [tapRecords(checkFinite), toTransform(copy)] }
}

/** @param source the model with the names that an importance matrix knows */
function planRecipe(
  model: GgufModel,
  source: Model,
  recipe: Omit<RecipeSettings, 'types'>,
  { importance, types, pruneLayers, threads, onWarning = () => undefined }: LlamaQuantizeOptions,
): PlannedPart {
  const kept = Array.from(keptTensors(source, pruneLayers), ([name, tensor]) => [tensor.name, name] as const)
  const matrix = importance && renamed(importance.matrix, new Map(kept))
  const quantization = new RecipeQuantization({
    settings: {
      ...recipe,
      types: typeRules(types, recipe.name, model.tensors),
      ...(matrix && { hasImportance: (name) => matrix.has(name) }),
    },
    importance: matrix && { matrix, file: importance.file, version: undefined },
    threads,
  })
  const tensors = [...quantization.of(model).decisions.values()]
  // Also where no importance counts: an entry of another size is another model's.
  const changed = tensors.filter(({ from, to }) => from.dtype !== to.dtype)
  if (matrix) for (const { from } of changed) usesImportance(matrix, from)
  quantization.warnings(model).forEach(onWarning)
  const onLost = (to: TensorInfo, lost: LostBlocks): void => lossesOf(to, lost).forEach(onWarning)
  const result = quantization.derive(model)
  return { result, tensors, stages: () => [quantizeStage(() => quantization, { onLost })] }
}
