/** Dtypes of all tensors under a budget of bytes: chosen by the errors that they would have, and by how much these count. */
import { layoutBytes, type LayoutOptions, type OpenedModel } from '../../formats/format.js'
import { FORMATS, type GgufModel } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import type { Model } from '../../model/model.js'
import { columnsOf, elementCount, tensorBytes, type TensorInfo } from '../../model/tensor.js'
import { BLOCK_DTYPES, type BlockDType } from '../../quant/block.js'
import type { TypeChoice } from '../../recipes/budget/choice.js'
import { candidatesFor, sensitivityOf, type Surroundings } from '../../recipes/budget/candidates.js'
import { pickWithin, type Candidate } from '../../recipes/budget/pick.js'
import { hyperparametersOf } from '../../recipes/hyperparameters.js'
import type { RecipeName, TargetDType } from '../../recipes/names.js'
import type { RecipeDecision } from '../../recipes/settings.js'
import type { MatrixImportance } from '../../streams/quantize/quantization.js'
import { openRecipe, type CheckedRecipeOptions, type RecipeImportance } from '../../streams/quantize/recipe.js'
import { LocalExecutor } from '../../threads/executor.js'
import { ggufFormOf, type WeightsOptions } from '../imatrix/from-weights.js'
import { ModelWeights } from '../imatrix/read-weights.js'
import { measureErrors, type Errors } from './measure.js'

/** What is asked for: one of the two. */
export interface Budget {
  /** Bytes of all files of the output together, at the most. */
  readonly targetBytes?: number | undefined
  /** Bits of all tensors together a weight, at the most. */
  readonly bitsPerWeight?: number | undefined
}

/** What the choice is made for. */
export interface Choosing {
  readonly opened: OpenedModel
  /** What is quantized: the opened model, or what was made of it on the way. */
  readonly model: Model
  readonly place: LayoutOptions
  readonly recipe: RecipeName | undefined
  readonly options: CheckedRecipeOptions & WeightsOptions
  readonly importance: RecipeImportance | undefined
  readonly signal: AbortSignal | undefined
}

/** Smallest first. */
const LADDER: readonly RecipeName[] = [
  ...(['Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L', 'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M', 'Q6_K', 'Q8_0'] as const),
]

/** A tensor whose dtype is to be chosen, and what a recipe would make of it. */
interface Open {
  readonly tensor: TensorInfo
  readonly byRecipe: TargetDType
  readonly candidates: readonly BlockDType[]
}

/**
 * Chooses from the errors of a sample of the weights. Deterministic.
 * @throws AprError `APR_BAD_OPTION` for a budget below the smallest that there is, `APR_UNSUPPORTED` where no GGUF is made
 */
export async function chooseTypes(budget: Budget, choosing: Choosing): Promise<TypeChoice> {
  const { opened, model, options, importance, signal } = choosing
  const gguf = ggufOf(model, opened)
  const base = await baseOf(budget, gguf, choosing)
  const weights = new ModelWeights(opened, (await ggufFormOf(opened, options)).piecesOf, { signal })
  const surroundings: Surroundings = {
    layers: hyperparametersOf(gguf).layers,
    isTied: !gguf.tensors.some(({ name }) => name === 'output.weight'),
    hasMatrix: importance !== undefined,
  }
  const open = base.decisions.flatMap((decision) => openOf(decision, surroundings))
  const errors = await measureAll(open, weights, choosing)
  const candidates = open.map(({ tensor, candidates: dtypes }) => candidatesOf(tensor, dtypes, errors, surroundings))
  const { picked, types } = await within(budget, base, open, candidates, gguf, choosing)
  const cost = (tensor: TensorInfo, dtype: TargetDType): number => {
    return sensitivityOf(tensor, surroundings) * (errors.get(tensor.name)?.byDType.get(dtype as BlockDType) ?? 0)
  }
  return {
    recipe: base.recipe,
    recipeBytes: base.bytes,
    recipeKl: open.reduce((sum, { tensor, byRecipe }) => sum + cost(tensor, byRecipe), 0),
    expectedKl: picked.reduce((sum, candidate) => sum + candidate.cost, 0),
    types,
  }
}

/** What is picked for the tensors, and as patterns behind the user's own. */
interface Picked {
  readonly picked: readonly Candidate<BlockDType>[]
  readonly types: Readonly<Record<string, TargetDType>>
}

/** Picks until the files as they would be written keep to the budget: how a model is cut into several adds some bytes. */
async function within(
  budget: Budget,
  base: Base,
  open: readonly Open[],
  candidates: readonly Candidate<BlockDType>[][],
  model: GgufModel,
  { options, importance, place }: Choosing,
): Promise<Picked> {
  const { targetBytes = Infinity } = budget
  for (let spare = 0; ;) {
    const asked = budget.targetBytes === undefined ? budget : { targetBytes: targetBytes - spare }
    const picked = pick(asked, base, open, candidates)
    const own = open.map(({ tensor }, i): [string, TargetDType] => [patternOf(tensor.name), picked[i]?.dtype ?? 'Q8_0'])
    const types = Object.fromEntries([...Object.entries(options.types ?? {}), ...own])
    const made = (await openRecipe(base.recipe, { ...options, types }, importance)).of(model).model
    const excess = layoutBytes(FORMATS.gguf.layout(made as GgufModel, place)) - targetBytes
    if (excess <= 0) return { picked, types }
    spare += excess
  }
}

interface Base {
  readonly recipe: RecipeName
  readonly decisions: readonly RecipeDecision[]
  /** Of all files. */
  readonly bytes: number
}

/** The recipe that the choice starts from. */
async function baseOf(budget: Budget, model: GgufModel, choosing: Choosing): Promise<Base> {
  const { recipe, options, importance, place } = choosing
  let base: Base | undefined
  for (const name of recipe === undefined ? LADDER : [recipe]) {
    const { model: made, decisions } = (await openRecipe(name, options, importance)).of(model)
    const bytes = layoutBytes(FORMATS.gguf.layout(made as GgufModel, place))
    const found = { recipe: name, decisions: [...decisions.values()] as RecipeDecision[], bytes }
    if (base && !isWithin(budget, found)) break
    base = found
  }
  if (!base) throw new Error('there is always one recipe')
  return base
}

function isWithin({ targetBytes, bitsPerWeight }: Budget, { bytes, decisions }: Base): boolean {
  return bytes <= (targetBytes ?? Infinity) && dataBits(decisions) <= (bitsPerWeight ?? Infinity)
}

function dataBits(decisions: readonly RecipeDecision[]): number {
  const bytes = decisions.reduce((sum, { to }) => sum + to.size, 0)
  return (bytes * 8) / weightsOf(decisions)
}

function weightsOf(decisions: readonly RecipeDecision[]): number {
  return decisions.reduce((sum, { from }) => sum + elementCount(from.shape), 0)
}

/** A tensor that the user decides nothing about, and that may get one of several dtypes. */
function openOf({ from, to, reason }: RecipeDecision, surroundings: Surroundings): Open[] {
  const candidates = reason === 'rule' || reason === 'fallback' ? candidatesFor(from, surroundings) : []
  return candidates.length === 0 ? [] : [{ tensor: from, byRecipe: to.dtype as TargetDType, candidates }]
}

async function measureAll(
  open: readonly Open[],
  weights: ModelWeights,
  { options, importance, signal }: Choosing,
): Promise<ReadonlyMap<string, Errors>> {
  const executor = new LocalExecutor(options.threads)
  executor.prepare(open.reduce((sum, { tensor }) => sum + elementCount(tensor.shape) / 4, 0))
  const errors = new Map<string, Errors>()
  try {
    for (const { tensor, candidates, byRecipe } of open) {
      const isKnown = (BLOCK_DTYPES as readonly TargetDType[]).includes(byRecipe)
      const dtypes = [...new Set([...candidates, ...(isKnown ? [byRecipe as BlockDType] : [])])]
      const question = { tensor, dtypes, fit: options.fit, importance: importanceOf(tensor, importance) }
      errors.set(tensor.name, await measureErrors(question, weights, executor, signal))
    }
  } finally {
    await executor.close()
  }
  return errors
}

function importanceOf(tensor: TensorInfo, importance: RecipeImportance | undefined): MatrixImportance | undefined {
  const { name } = tensor
  if (!importance?.matrix.has(name)) return undefined
  const width = columnsOf(tensor)
  return { read: (first, count) => importance.matrix.read(name, first * width, count * width) }
}

/** Scales of Q6_K run out where weights are tiny: it is left out there. */
function candidatesOf(
  tensor: TensorInfo,
  dtypes: readonly BlockDType[],
  errors: ReadonlyMap<string, Errors>,
  surroundings: Surroundings,
): Candidate<BlockDType>[] {
  const { byDType, isFaint } = errors.get(tensor.name) ?? { byDType: new Map<BlockDType, number>(), isFaint: false }
  const sensitivity = sensitivityOf(tensor, surroundings)
  return dtypes
    .filter((dtype) => dtype !== 'Q6_K' || !isFaint)
    .map((dtype) => ({
      dtype,
      bytes: tensorBytes(dtype, tensor.shape),
      cost: sensitivity * (byDType.get(dtype) ?? 0),
    }))
}

/** @throws AprError `APR_BAD_OPTION` where the smallest that there is takes more */
function pick(
  { targetBytes, bitsPerWeight }: Budget,
  base: Base,
  open: readonly Open[],
  candidates: readonly Candidate<BlockDType>[][],
): Candidate<BlockDType>[] {
  const chosen = new Set(open.map(({ tensor }) => tensor.name))
  // Tensors start at whole multiples of 32 bytes: where bytes of a file count, each one's padding does.
  const padded = (size: number): number => (targetBytes === undefined ? size : Math.ceil(size / ALIGNMENT) * ALIGNMENT)
  const inBase = base.decisions
    .filter(({ from }) => chosen.has(from.name))
    .reduce((sum, { to }) => sum + padded(to.size), 0)
  const data = base.decisions.reduce((sum, { to }) => sum + to.size, 0)
  const fixed = (targetBytes === undefined ? data : base.bytes) - inBase
  const total = targetBytes ?? Math.floor(((bitsPerWeight ?? 0) * weightsOf(base.decisions)) / 8)
  const inPlace = candidates.map((all) => all.map((one) => ({ ...one, bytes: padded(one.bytes) })))
  const picked = pickWithin(inPlace, total - fixed)
  if (picked) return picked
  const least = fixed + inPlace.reduce((sum, all) => sum + Math.min(...all.map(({ bytes }) => bytes)), 0)
  const bits = ((least - (targetBytes === undefined ? 0 : base.bytes - data)) * 8) / weightsOf(base.decisions)
  const expected =
    targetBytes === undefined
      ? `\`bitsPerWeight\` of at least ${bits.toFixed(4)}`
      : `\`targetBytes\` of at least ${least}`
  const found = targetBytes === undefined ? bitsPerWeight : targetBytes
  throw new AprError('APR_BAD_OPTION', `expected ${expected}, the least that this model can be made, found ${found}`)
}

/** At most: a model that says another alignment is laid out by that, and checked in the end. */
const ALIGNMENT = 32

/** The pattern that finds one name. */
export function patternOf(name: string): string {
  return `^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`
}

function ggufOf(model: Model, { input }: OpenedModel): GgufModel {
  if (model.format === 'gguf') return model
  const what = `expected a GGUF output, where dtypes are chosen by their size, found one of ${model.format}`
  throw new AprError('APR_UNSUPPORTED', what, { file: input.name })
}
