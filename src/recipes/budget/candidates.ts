/** Which dtypes a tensor may get where types are chosen by what they cost, and how much its errors count. */
import { DTYPES } from '../../model/dtypes.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { BlockDType } from '../../quant/block.js'
import { categoryOf, type Category } from '../categories.js'

const SUPER_BLOCK_TYPES = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'Q8_0'] as const
const SMALL_BLOCK_TYPES = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0'] as const

/**
 * KL of a kind of tensors, in nats a token, to the square of their relative error. Measured on one small model,
 * SmolLM2-135M, without an importance matrix: a guide, and no law.
 */
const SENSITIVITY: Readonly<Record<Category, number>> = {
  ...{ attn_v: 15.5, ffn_down: 11.4, output: 7.4, ffn_up: 7.2, ffn_gate: 4.2 },
  ...{ attn_q: 1.6, attn_k: 1.6, attn_output: 1.6, token_embd: 0.6 },
  // Of none it was measured: as of what holds the values, to be on the safe side.
  other: 15.5,
}

/** Bits of what values and output get at the least. */
const FLOOR: BlockDType = 'Q4_K'

/** What of a model decides beside the tensor itself. */
export interface Surroundings {
  readonly layers: number
  /** Whether the embedding is the output as well. */
  readonly isTied: boolean
  readonly hasMatrix: boolean
}

/** Smallest first. None: a tensor whose rows are whole blocks of no type. */
export function candidatesFor(tensor: TensorInfo, { isTied, hasMatrix }: Surroundings): readonly BlockDType[] {
  const width = tensor.shape.at(-1) ?? 1
  const category = categoryOf(tensor.name)
  const isDelicate =
    category === 'attn_v' || category === 'output' || (isTied && category === 'token_embd') || category === 'other'
  if (width % 256 === 0) {
    const allowed = SUPER_BLOCK_TYPES.filter((dtype) => hasMatrix || dtype !== 'Q2_K')
    return isDelicate ? allowed.filter((dtype) => bits(dtype) >= bits(FLOOR)) : allowed
  }
  return width % 32 === 0 ? SMALL_BLOCK_TYPES : []
}

/** What the square of a tensor's relative error costs: KL in nats a token, as far as that can be told. */
export function sensitivityOf({ name }: TensorInfo, { layers, isTied }: Surroundings): number {
  const category = categoryOf(name)
  if (category === 'output') return SENSITIVITY.output
  if (category === 'token_embd') return SENSITIVITY.token_embd + (isTied ? SENSITIVITY.output : 0)
  return SENSITIVITY[category] / Math.max(layers, 1)
}

function bits(dtype: BlockDType): number {
  return DTYPES[dtype].blockBytes / DTYPES[dtype].blockElements
}
