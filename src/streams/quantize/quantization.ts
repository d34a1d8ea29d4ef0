/** What a stage that quantizes makes of a model, before any of its data: also what a plan tells. */
import type { Fit } from '../../quant/kernel.js'
import type { Decision as PolicyDecision } from '../../quant/policy.js'
import { isBlockDType, type RunImportance } from '../../quant/runs/run.js'
import { DTYPES } from '../../model/dtypes.js'
import type { Model } from '../../model/model.js'
import { elementCount, type TensorInfo } from '../../model/tensor.js'
import type { RecipeDecision } from '../../recipes/settings.js'
import type { StageShape } from '../stage.js'

/** What becomes of a tensor, and why: by a rule that selects, or by a recipe. */
export type Decision = PolicyDecision | RecipeDecision

/** What the stage does to a model. */
export interface Quantized {
  readonly model: Model
  /** By the names of the tensors that come. */
  readonly decisions: ReadonlyMap<string, Decision>
}

/** What becomes of a tensor's records. */
export interface TensorTarget {
  readonly to: TensorInfo
  /** Undefined where they pass as they are. */
  readonly conversion?: Conversion
  /** What errors count in figures of them, whatever dtype they become: gives undefined where nothing tells. */
  readonly counts?: () => MatrixImportance | undefined
}

/** How a tensor's numbers become others. */
export interface Conversion {
  readonly fit: Fit
  /** Whether NaN and infinity pass: in a tensor that is only widened. */
  readonly isLenient?: boolean
  /** What errors count, matrix by matrix: read where it is needed, because all of it may be larger than memory. */
  readonly importance?: MatrixImportance
}

/** An importance matrix's part for one tensor. */
export interface MatrixImportance {
  /** @returns a row of numbers for each of `count` matrices from `first` on */
  read(first: number, count: number): Promise<Float32Array>
}

/** The one source of what a plan tells, and of what a job does. */
export interface Quantization extends StageShape {
  /** Worker threads at the most, and bytes of records under way in them. */
  readonly threads: number | undefined
  readonly highWaterMark: number | undefined
  /** Names all that decides the bytes beside the model that comes of it; undefined where that cannot be told. */
  readonly version: string | undefined
  /** What becomes of a model: its tensors, flags and metadata. */
  of(model: Model): Quantized
  /** What becomes of a tensor of this model, which need not be as the model announces it. */
  targetOf(tensor: TensorInfo, model: Model): TensorTarget
  /** How a user leaves a tensor out that holds what its dtype cannot, for errors. */
  cure(value: number, to: TensorInfo): string
  /** What is likely to disappoint, in sentences. */
  warnings?(model: Model): string[]
  /** Reads what has to be known before any record comes, beside the model. */
  prepare?(): Promise<void>
  /** Closes what it reads from. */
  close?(): Promise<void>
}

/** Elements that are quantized or converted. */
export function convertedElements(decisions: readonly Decision[]): number {
  return decisions.reduce((sum, { from, to }) => sum + (isConverted({ from, to }) ? elementCount(from.shape) : 0), 0)
}

/** Whether a tensor gets another dtype. */
export function isConverted({ from, to }: Pick<Decision, 'from' | 'to'>): boolean {
  return from.dtype !== to.dtype
}

/** Whether a tensor becomes blocks. */
export function isQuantized(decision: Pick<Decision, 'from' | 'to'>): boolean {
  return isConverted(decision) && isBlockDType(decision.to.dtype)
}

/**
 * What converting these tensors costs, in elements that take a search for scales: all else is far cheaper, and wants no
 * thread for so few.
 */
export function searchElements(quantization: Quantization, model: Model): number {
  let sum = 0
  for (const { from, to } of quantization.of(model).decisions.values()) {
    if (!isConverted({ from, to })) continue
    const { conversion } = quantization.targetOf(from, model)
    const isSearched = DTYPES[to.dtype].blockElements === 256 || conversion?.importance !== undefined
    sum +=
      elementCount(from.shape) * (isSearched && conversion !== undefined && conversion.fit !== 'minmax' ? 1 : CHEAP)
  }
  return sum
}

/** Of a conversion or a fit without a search, to one with. */
const CHEAP = 1 / 16

/** The rows of an importance matrix that belong to some elements of a tensor. */
export async function matrixRun(
  importance: MatrixImportance,
  { shape }: TensorInfo,
  first: number,
  elements: number,
): Promise<RunImportance> {
  const matrixElements = Math.max(1, elementCount(shape.slice(-2)))
  const matrix = Math.floor(first / matrixElements)
  const end = Math.ceil((first + elements) / matrixElements)
  const values = await importance.read(matrix, end - matrix)
  return { values, matrixElements, inMatrix: first - matrix * matrixElements }
}
