/** A run of llama-quantize: a GGUF model becomes another, in one pass and in constant memory. */
import { openModelInput } from '../../files/model-input.js'
import { fixPath } from '../../files/path.js'
import type { OpenedModel } from '../../formats/format.js'
import { FORMATS, type GgufModel } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import type { Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { LostBlocks } from '../../quant/run.js'
import { renamed, type Importance } from '../../recipes/importance/importance.js'
import { importanceKvs, type ImportanceOrigin } from '../../recipes/kvs.js'
import type { RecipeSettings } from '../../recipes/settings.js'
import type { TensorTransform } from '../../streams/face.js'
import { openModel } from '../../streams/open-input.js'
import { readOpened } from '../../streams/reader.js'
import { RecipeQuantization } from '../../streams/quantize/recipe.js'
import { quantizeStage } from '../../streams/quantize/stage.js'
import { tapRecords, toTransform } from '../../streams/stage.js'
import { writeOpened } from '../../streams/writer.js'
import type { Progress } from '../job.js'
import { openOutput } from '../open-output.js'
import { progressStage } from '../progress.js'
import { abortableSources } from '../reading/abort.js'
import { run } from '../run.js'
import { lossesOf } from '../warnings.js'
import { checkFinite, copyStage, ggufOf, keptTensors, overridesStage, sourceStage, type ModelEdits } from './stages.js'

export interface LlamaQuantizeOptions extends ModelEdits {
  /** Undefined: tensors stay as they are. */
  readonly recipe: RecipeSettings | undefined
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

/**
 * @param output the file, or with `keepSplit` the start of its parts' names; undefined: nothing is written. What stands
 *   there is replaced
 * @throws AprError for all that can be wrong with model and options, the file system's own errors, and an `AbortError`
 */
export async function llamaQuantize(
  input: string,
  output: string | undefined,
  options: LlamaQuantizeOptions,
): Promise<void> {
  const { signal, onPlan } = options
  const opened = await openModel(await openModelInput(input, signal && abortableSources(signal)), FORMATS.gguf)
  try {
    const planned = planRun(opened, options)
    onPlan?.(planned.tensors)
    if (output !== undefined) await write(opened, planned, output, options)
  } catch (error) {
    throw error instanceof AprError ? error.at({ file: input }) : error
  } finally {
    await opened.input.close()
  }
}

interface PlannedRun {
  /** The model of the output. */
  readonly model: GgufModel
  readonly tensors: readonly ChangedTensor[]
  /** Between reader and writer. */
  readonly stages: () => readonly TensorTransform[]
}

function planRun({ model }: OpenedModel, options: LlamaQuantizeOptions): PlannedRun {
  const { importance, recipe } = options
  const source = sourceStage(options)
  const overrides = overridesStage(options, importance ? importanceKvs(importance) : [])
  const started = ggufOf(source.derive(model))
  const { result, tensors, stages } = recipe
    ? planRecipe(started, recipeOf(recipe, model, options), options)
    : planCopy(started, options)
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

function planRecipe(
  model: GgufModel,
  quantization: RecipeQuantization,
  { onWarning = () => undefined }: LlamaQuantizeOptions,
): PlannedPart {
  const result = quantization.derive(model)
  quantization.warnings(model).forEach(onWarning)
  const onLost = (to: TensorInfo, lost: LostBlocks): void => lossesOf(to, lost).forEach(onWarning)
  return {
    result,
    tensors: [...quantization.of(model).decisions.values()],
    stages: () => [quantizeStage(() => quantization, { onLost })],
  }
}

/** The recipe, with an importance matrix that knows tensors by the names that they have had. */
function recipeOf(recipe: RecipeSettings, model: Model, options: LlamaQuantizeOptions): RecipeQuantization {
  const { importance, pruneLayers, threads } = options
  if (!importance) return new RecipeQuantization({ settings: recipe, threads })
  const names = new Map(Array.from(keptTensors(model, pruneLayers), ([source, { name }]) => [name, source]))
  const matrix = renamed(importance.matrix, names)
  return new RecipeQuantization({
    settings: { ...recipe, hasImportance: (name) => matrix.has(name) },
    importance: { matrix, file: importance.file, version: undefined },
    threads,
  })
}

async function write(
  opened: OpenedModel,
  { model, stages }: PlannedRun,
  output: string,
  options: LlamaQuantizeOptions,
): Promise<void> {
  const { keepSplit, onProgress, signal } = options
  const fileTensors = keepSplit ? partTensors(opened, options) : undefined
  const place = fixPath('the output', keepSplit ? partsPath(output, fileTensors?.length ?? 1) : output)
  const target = await openOutput(place, model, undefined, {
    ...{ overwrite: true, resume: false, spaceCheck: true, splitMaxBytes: undefined, fileTensors, signal, onProgress },
  })
  try {
    const progress = progressStage('quantizing', opened.model.tensors, onProgress)
    await run([readOpened(opened), ...progress, ...stages(), writeOpened(FORMATS.gguf, target)], signal)
  } catch (error) {
    // What came too late to keep the output from its place is no failure.
    if (!target.isInPlace) throw error
  }
}

/** How many tensors each part has of those that stay. A last part without any is none. */
function partTensors({ model, tensors }: OpenedModel, { pruneLayers }: LlamaQuantizeOptions): number[] {
  const kept = keptTensors(model, pruneLayers)
  const counts: number[] = []
  for (const { tensor, file } of tensors) {
    if (!kept.has(tensor.name)) continue
    while (counts.length <= file) counts.push(0)
    counts[file] = (counts[file] ?? 0) + 1
  }
  return counts
}

/** One part has the name that it would have among several. */
function partsPath(prefix: string, parts: number): string {
  return parts > 1 ? `${prefix}.gguf` : `${prefix}-00001-of-00001.gguf`
}
