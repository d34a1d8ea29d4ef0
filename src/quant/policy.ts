/** Which tensors become Q4_K, and what becomes of the others. */
import { elementCount, isPlaceholder, tensorBytes, type TensorInfo } from '../model/tensor.js'
import { DTYPES, SUPER_BLOCK_ELEMENTS, type DType } from '../model/dtypes.js'

/** The dtype of float tensors that are not quantized. `auto`: F32 and F16 stay, every other float becomes F32. */
export type Kept = 'auto' | 'same' | 'f32'

/** Says whether a tensor is to be quantized. */
export type Select = (tensor: TensorInfo) => boolean

/** Whether tensors of this dtype are quantized or widened: floats, and the quants that aprender can do nothing else with. */
export function isFloat(dtype: DType): boolean {
  return DTYPES[dtype].kind === 'float' || dtype === 'APR_Q8' || dtype === 'APR_Q4'
}

/** Why a tensor is quantized or kept. */
export type Reason =
  /** It is quantized. */
  | 'selected'
  /** Its dtype is an integer one, or one that nothing here computes with. */
  | 'dtype'
  /** It is quantized already. */
  | 'quantized'
  /** It is the placeholder of a tied tensor. */
  | 'tied'
  /** It has fewer than two dimensions. */
  | 'rank'
  /** It has fewer than 256 elements. */
  | 'size'
  /** Its name is that of a bias, norm, scale or embedding. */
  | 'name'
  /** Its rows are no multiple of 256 elements, and its format pads none. */
  | 'width'
  /** `select` said so. */
  | 'user'

export interface Decision {
  readonly reason: Reason
  /** The tensor as it is, and as it will be. */
  readonly from: TensorInfo
  readonly to: TensorInfo
}

export interface Policy {
  readonly select: Select
  readonly kept: Kept
}

const APR_KEPT_NAMES = ['bias', 'norm', 'scale', 'embed']
/** An embedding's GGUF name. Its table is read as one run of elements, which padded rows would break. */
const KEPT_NAMES = [...APR_KEPT_NAMES, 'embd']

/**
 * The default rule: a tensor of two or more dimensions and 256 or more elements is quantized, unless its name contains
 * `bias`, `norm`, `scale`, `embed` or `embd`.
 */
export function selectByDefault(tensor: TensorInfo): boolean {
  return ruleReason(tensor, KEPT_NAMES) === 'selected'
}

/** The rule of `apr quantize`: the default one, but for `embd`. It breaks models whose embedding is `token_embd`. */
export function selectAsApr(tensor: TensorInfo): boolean {
  return ruleReason(tensor, APR_KEPT_NAMES) === 'selected'
}

/**
 * What happens to a tensor, and why. Integers, K-quants and placeholders always stay as they are.
 * @param format the model's, which may not hold every matrix as Q4_K
 */
export function decide(
  from: TensorInfo,
  { select, kept }: Policy,
  format: { isPossibleSize(tensor: TensorInfo): boolean },
): Decision {
  const { dtype, shape } = from
  if (isPlaceholder(from)) return { reason: 'tied', from, to: from }
  if (!isFloat(dtype)) return { reason: DTYPES[dtype].kind === 'quantized' ? 'quantized' : 'dtype', from, to: from }
  const isSelected = elementCount(shape) > 0 && select(from)
  const quantized = retype(from, 'Q4_K')
  if (isSelected && format.isPossibleSize(quantized)) return { reason: 'selected', from, to: quantized }
  const byRule = ruleReason(from, KEPT_NAMES)
  const reason = isSelected ? 'width' : byRule === 'selected' ? 'user' : byRule
  return { reason, from, to: retype(from, keptDType(dtype, kept)) }
}

function ruleReason({ name, shape }: TensorInfo, keptNames: readonly string[]): Reason {
  if (shape.length < 2) return 'rank'
  if (elementCount(shape) < SUPER_BLOCK_ELEMENTS) return 'size'
  return keptNames.some((part) => name.includes(part)) ? 'name' : 'selected'
}

function keptDType(dtype: DType, kept: Kept): DType {
  const stays = kept === 'same' || (kept === 'auto' && dtype === 'F16')
  return stays ? dtype : 'F32'
}

function retype(from: TensorInfo, dtype: DType): TensorInfo {
  const { name, shape } = from
  return dtype === from.dtype ? from : Object.freeze({ name, dtype, shape, size: tensorBytes(dtype, shape) })
}
