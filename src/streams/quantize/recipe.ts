import type { ConfigFolder } from '../../convert/hf-source.js'
import { readConfigFolder } from '../../files/config-folder.js'
import { portableVersion } from '../../files/local-file.js'
import { openSource } from '../../files/open-source.js'
import { formatOf } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import type { Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import { isBlockDType } from '../../quant/runs/run.js'
import { withoutSecrets } from '../../remote/address.js'
import { checkOptions, type Checked } from '../../options/check.js'
import { RECIPE_OPTIONS } from '../../options/table.js'
import { isSameTensor } from '../../records/arrived-tensors.js'
import { sourceRanges } from '../../records/record-runs.js'
import { decideModel } from '../../recipes/hf-decisions.js'
import { openImportance, usesImportance, type Importance } from '../../recipes/importance/importance.js'
import { recipeKvs } from '../../recipes/kvs.js'
import { recipeNamed, type RecipeText, type TargetDType } from '../../recipes/names.js'
import type { RecipeDecision, RecipeSettings } from '../../recipes/settings.js'
import { oncePerModel } from '../changed-model.js'
import type { TensorTransform } from '../face.js'
import type { TensorRange } from '../stage.js'
import {
  isConverted,
  isQuantized,
  type Conversion,
  type MatrixImportance,
  type Quantization,
  type Quantized,
  type TensorTarget,
} from './quantization.js'
import { quantizeStage } from './stage.js'

/** What a recipe is asked for with, beside its name. */
export interface RecipeChoices {
  /** An importance matrix, as `llama-imatrix` writes it, in either of its forms. */
  imatrix?: string | URL | undefined
  /**
   * Dtypes by patterns: regular expressions that are searched in the names that tensors have in GGUF. The first that is
   * found counts.
   */
  types?: Readonly<Record<string, TargetDType>> | undefined
  /** Dtype of `output.weight`; of a tied model, which has none, of `token_embd.weight`. */
  outputType?: TargetDType | undefined
  /** Dtype of `token_embd.weight`. */
  embeddingType?: TargetDType | undefined
  /** Give every tensor that may be quantized the recipe's default dtype. Default false. */
  pure?: boolean | undefined
  /** Leave `output.weight` as it is. Default false. */
  leaveOutput?: boolean | undefined
  /** Quantize tensors again that are quantized already; else one is an error. Default false. */
  allowRequantize?: boolean | undefined
  /** Give a tensor whose rows are not whole blocks a dtype that takes them; else all such are an error. Default true. */
  fallback?: boolean | undefined
}

export interface RecipeOptions extends RecipeChoices {
  /** `search` gives llama.cpp's bytes; `refined` leaves less error, in Q2_K to Q6_K. Default `search`. */
  fit?: 'search' | 'refined' | undefined
  /** A folder with `config.json`, for an APR model with Hugging Face names that comes without it. */
  config?: string | URL | undefined
  /** Worker threads at the most. Default: the cores that are there for this process. Few data take fewer. */
  threads?: number | undefined
  /** Bytes of records under way in the threads at the most; at least one record a thread. Default 4 MiB a thread. */
  highWaterMark?: number | undefined
}

export type CheckedRecipeOptions = Checked<RecipeOptions, typeof RECIPE_OPTIONS>

/**
 * Quantizes as llama.cpp's `llama-quantize` does: each tensor to the dtype that the recipe gives it, the same bytes, with or
 * without an importance matrix. Everything is decided from the model alone, before anything is passed on.
 *
 * @param name `Q4_K_M`, `Q6_K`, ... or one of llama-quantize's other names for them
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error `APR_UNSUPPORTED` that lists all tensors that keep the
 *   recipe from being made, `APR_BAD_INDEX` for an importance matrix of another model, `APR_BAD_VALUE` for NaN, infinity and
 *   numbers that a dtype cannot hold, `APR_BAD_RECORD` for tensors that the model does not announce
 */
export function recipe(name: RecipeText, options: RecipeOptions = {}): TensorTransform {
  const found = recipeNamed(name)
  const checked = checkOptions(options, RECIPE_OPTIONS)
  return quantizeStage(() => openRecipe(found, checked))
}

/**
 * Reads what the options speak of.
 * @param importance a matrix that is open already
 */
export async function openRecipe(
  name: RecipeSettings['name'],
  options: CheckedRecipeOptions,
  importance?: RecipeImportance,
): Promise<RecipeQuantization> {
  const { config: folder, types = {}, threads, highWaterMark } = options
  const { outputType, embeddingType, pure, leaveOutput, allowRequantize, fallback, fit } = options
  const config = folder === undefined ? undefined : await readConfigFolder(folder)
  const matrix = importance ?? (await openMatrix(options))
  return new RecipeQuantization({
    settings: {
      ...{ name, outputType, embeddingType, pure, leaveOutput, allowRequantize, fallback },
      types: Object.entries(types).map(([pattern, dtype]) => ({ pattern, dtype })),
      hasImportance: matrix && ((tensor) => matrix.matrix.has(tensor)),
    },
    ...{ importance: matrix, config, threads, highWaterMark, fit },
  })
}

/** Opens the importance matrix that the options name; its values are not read yet. */
export async function openMatrix({
  imatrix,
}: Pick<CheckedRecipeOptions, 'imatrix'>): Promise<RecipeImportance | undefined> {
  if (imatrix === undefined) return undefined
  const file = await openSource(imatrix)
  return { matrix: await openImportance(file), file: withoutSecrets(imatrix), version: portableVersion(file) }
}

/** An importance matrix, its name as it is written into the file, and what names its content. */
export interface RecipeImportance {
  readonly matrix: Importance
  readonly file: string
  readonly version: string | undefined
}

export interface RecipeSetup {
  readonly settings: RecipeSettings
  /** Closed with the quantization. */
  readonly importance?: RecipeImportance | undefined
  readonly config?: ConfigFolder | undefined
  /** Default `search`. */
  readonly fit?: 'search' | 'refined'
  readonly threads?: number | undefined
  readonly highWaterMark?: number | undefined
}

/** What `recipe(name, options)` does, without its stream. */
export class RecipeQuantization implements Quantization {
  readonly threads: number | undefined
  readonly highWaterMark: number | undefined
  readonly of: (model: Model) => Quantized
  readonly #setup: RecipeSetup

  constructor(setup: RecipeSetup) {
    this.#setup = setup
    this.threads = setup.threads
    this.highWaterMark = setup.highWaterMark
    this.of = oncePerModel((model) => this.#quantized(model))
  }

  /** The other settings decide dtypes alone, which the output's head tells. */
  get version(): string | undefined {
    const { importance, fit = 'search' } = this.#setup
    const version = importance ? importance.version : 'no importance'
    return version === undefined || fit === 'search' ? version : `${version}, ${fit}`
  }

  derive(model: Model): Model {
    return this.of(model).model
  }

  targetOf(tensor: TensorInfo, model: Model): TensorTarget {
    const decision = this.of(model).decisions.get(tensor.name) as RecipeDecision | undefined
    if (!decision || !isSameTensor(decision.from, tensor)) {
      const what = `expected tensors as their model announces them, found ${tensor.dtype} [${tensor.shape.join(', ')}], which is none of these`
      throw new AprError('APR_BAD_RECORD', what, { tensor: tensor.name })
    }
    const { from, to } = decision
    // Floats that stay are looked at as well: what is no number would spoil all that is computed with it.
    const isLookedAt = isConverted(decision) || ['F32', 'F16', 'BF16'].includes(from.dtype)
    const counts = (): MatrixImportance | undefined => this.#matrixOf(decision, model)
    if (!isLookedAt) return { to, counts }
    const conversion: Conversion = { fit: this.#setup.fit ?? 'search' }
    const importance = isQuantized(decision) ? this.#importanceOf(decision, model) : undefined
    return { to, conversion: importance ? { ...conversion, importance } : conversion, counts }
  }

  needs(ranges: readonly TensorRange[], model: Model): TensorRange[] {
    const { decisions } = this.of(model)
    return ranges.flatMap((range) => {
      const decision = decisions.get(range.name)
      if (!decision) return []
      const { from, to } = decision
      const isWeighted = this.targetOf(from, model).conversion?.importance !== undefined
      return sourceRanges(from, { dtype: to.dtype, isWeighted }, range)
    })
  }

  /** In sentences: tensors that an importance matrix is to help with and does not tell of. */
  warnings(model: Model): string[] {
    if (!this.#setup.importance) return []
    const decisions = [...this.of(model).decisions.values()] as RecipeDecision[]
    const without = decisions.filter(
      (decision) => isQuantized(decision) && takesImportance(decision) && !this.#importanceOf(decision, model),
    )
    if (without.length === 0) return []
    const names = without.map(({ from }) => from.name)
    const listed = names.slice(0, MAX_LISTED).join(', ') + (names.length > MAX_LISTED ? ', ...' : '')
    return [`the importance matrix does not tell of ${names.length} of the quantized tensors: ${listed}`]
  }

  cure(value: number): string {
    return Number.isFinite(value) ? 'give the tensor another dtype with `types`' : 'no dtype holds it'
  }

  async prepare(): Promise<void> {
    await this.#setup.importance?.matrix.prepare?.()
  }

  async close(): Promise<void> {
    await this.#setup.importance?.matrix.close()
  }

  #quantized(model: Model): Quantized {
    const { settings, importance, config } = this.#setup
    const decisions = decideModel(model, settings, config)
    const tensors = Object.freeze(decisions.map(({ to }) => to))
    const byName = new Map(decisions.map((decision) => [decision.from.name, decision]))
    // An importance matrix of another model is found before anything is read.
    for (const decision of decisions) if (takesImportance(decision)) this.#importanceOf(decision, model)
    if (model.format !== 'gguf') {
      return { model: formatOf(model).withQuantized(model, tensors, decisions.some(isQuantized)), decisions: byName }
    }
    const { dataset, entries = 0, chunks } = importance?.matrix ?? {}
    const origin = importance && { file: importance.file, dataset, entries, chunks }
    const kvs = recipeKvs(model, settings.name, origin)
    return { model: Object.freeze({ ...model, tensors, kvs }), decisions: byName }
  }

  /** @throws AprError `APR_BAD_INDEX` for an entry of another size */
  #importanceOf(decision: RecipeDecision, model: Model): MatrixImportance | undefined {
    return takesImportance(decision) ? this.#matrixOf(decision, model) : undefined
  }

  /** The same, whatever dtype the tensor becomes. */
  #matrixOf({ from, place }: RecipeDecision, { format }: Model): MatrixImportance | undefined {
    const matrix = this.#setup.importance?.matrix
    if (!matrix) return undefined
    const { entry, matrix: first } = place ?? { entry: from.name, matrix: 0 }
    if (format === 'gguf' ? !usesImportance(matrix, from, entry) : !isTold(matrix, from, entry, first)) return undefined
    const width = from.shape.at(-1) ?? 1
    return { read: (index, count) => matrix.read(entry, (first + index) * width, count * width) }
  }
}

const MAX_LISTED = 10

/** Fits of these dtypes take importance; others have no choice. */
function takesImportance({ to: { dtype } }: Pick<RecipeDecision, 'to'>): boolean {
  return isBlockDType(dtype) && dtype !== 'Q8_0'
}

/** Whether an entry tells of a tensor, which is one matrix of it or all: @throws AprError `APR_BAD_INDEX` */
function isTold(importance: Importance, tensor: TensorInfo, entry: string, first: number): boolean {
  if (!importance.has(entry)) return false
  const width = tensor.shape.at(-1) ?? 1
  const matrices = tensor.shape.at(-3) ?? 1
  const size = importance.sizeOf(entry)
  if (size % width === 0 && size >= (first + matrices) * width) return true
  const what = `expected importances of ${width} columns of at least ${first + matrices} matrices, found ${size} values for "${entry}": the importance matrix is another model's`
  throw new AprError('APR_BAD_INDEX', what, { tensor: tensor.name })
}
