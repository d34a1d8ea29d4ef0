/** What a recipe is asked for with, and what it answers. */
import type { TensorInfo } from '../model/tensor.js'
import type { RecipeName, TargetDType } from './names.js'
import type { TypeRule } from './patterns.js'

export interface RecipeSettings {
  readonly name: RecipeName
  /** Tried one after the other: the first whose pattern is found in a tensor's name counts. */
  readonly types?: readonly TypeRule[] | undefined
  /** Of `output.weight`; where there is none, of `token_embd.weight`, unless `types` or `pure` decide that. */
  readonly outputType?: TargetDType | undefined
  /** Of `token_embd.weight`. */
  readonly embeddingType?: TargetDType | undefined
  /** Whether every tensor that may be touched gets the recipe's default. */
  readonly pure?: boolean | undefined
  /** Whether `output.weight` stays as it is. */
  readonly leaveOutput?: boolean | undefined
  /** Whether what is quantized already may be quantized again. Default false. */
  readonly allowRequantize?: boolean | undefined
  /** Whether a tensor whose rows are not whole blocks gets another dtype. Default true; else it is an error. */
  readonly fallback?: boolean | undefined
  /** Whether the importance matrix has an entry for a tensor; undefined without a matrix, which changes rules too. */
  readonly hasImportance?: ((tensorName: string) => boolean) | undefined
  /** Whether the tensors stay in the order of the model, as for parts that are written part by part. Default false. */
  readonly keepOrder?: boolean | undefined
  /** Blocks that the model had before some were left out: what the rules count. Default: those that it has. */
  readonly layersBefore?: number | undefined
}

/** Why a tensor gets its dtype. */
export type RecipeReason =
  /** A rule of the recipe, or its default. */
  | 'rule'
  /** A pattern of `types`. */
  | 'pattern'
  /** `outputType`, `embeddingType` or `pure`. */
  | 'option'
  /** Its rows are not whole blocks of the dtype that it would get. */
  | 'fallback'
  /** No recipe touches it: it stays as it is. */
  | 'excluded'

/** Where an importance matrix tells of a tensor: the entry, and which of its matrices is the tensor's first. */
export interface MatrixPlace {
  readonly entry: string
  readonly matrix: number
}

export interface RecipeDecision {
  /** The tensor as it is. */
  readonly from: TensorInfo
  /** The tensor as it will be: the same object where nothing changes. */
  readonly to: TensorInfo
  readonly reason: RecipeReason
  /** What decided, in a few words: `attn_v`, `default of Q4_K_M`, `rows of 576 are not whole blocks of Q4_K`. */
  readonly rule: string
  /** Undefined for a tensor that none can tell of. */
  readonly place?: MatrixPlace | undefined
}
