/** What `llama-quantize ... COPY` makes of a model: the same tensors, in its order. */
import { findKv, kv, kvValue, type GgufModel, type Kv } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import type { DType } from '../../model/dtypes.js'
import type { TensorInfo } from '../../model/tensor.js'
import { rankOf } from '../categories.js'
import { inWritingOrder } from '../choose.js'
import { retyped } from '../decide.js'
import { withKvs } from '../kvs.js'

/** What llama.cpp calls a file most of whose tensors are of a dtype. */
const FILE_TYPES: Readonly<Partial<Record<DType, number>>> = {
  ...{ F32: 0, F16: 1, BF16: 32, Q4_0: 2, Q4_1: 3, Q5_0: 8, Q5_1: 9, Q8_0: 7 },
  ...{ Q2_K: 10, Q3_K: 12, Q4_K: 15, Q5_K: 17, Q6_K: 18, TQ1_0: 36, TQ2_0: 37 },
  ...{ IQ2_XXS: 19, IQ2_XS: 20, IQ2_S: 28, IQ3_XXS: 23, IQ1_S: 24, IQ1_M: 31, IQ4_NL: 25, IQ4_XS: 30, IQ3_S: 26 },
  ...{ NVFP4: 39, Q1_0: 40, Q2_0: 41 },
}

/** Says that a file type was found out by the tensors. */
const GUESSED = 1024

/**
 * @param keepOrder whether the tensors stay in the order of the model
 * @throws AprError `APR_BAD_METADATA` for a file type that is no u32
 */
export function copyModel(model: GgufModel, keepOrder: boolean): GgufModel {
  const ordered = inWritingOrder(model.tensors)
  const kvs = withKvs(model.kvs, [
    kv('general.quantization_version', 'u32', 2),
    kv('general.file_type', 'u32', fileTypeOf(model.kvs, ordered)),
  ])
  const tensors = keepOrder ? model.tensors : ordered
  return Object.freeze({ ...model, tensors: Object.freeze(tensors.map(withoutOnes)), kvs })
}

/** Shapes are written without first dimensions of 1. */
function withoutOnes(tensor: TensorInfo): TensorInfo {
  return retyped(tensor, tensor.dtype, tensor.shape.slice(-rankOf(tensor.shape)))
}

function fileTypeOf(kvs: readonly Kv[], tensors: readonly TensorInfo[]): number {
  const pair = findKv(kvs, 'general.file_type')
  if (!pair) return mostlyOf(tensors) | GUESSED
  if (pair.type === 'u32') return Number(kvValue(pair))
  throw new AprError('APR_BAD_METADATA', `expected general.file_type to be a u32, found a ${pair.type}`)
}

/** The file type of the dtype that most tensors have; of as many, of that which had as many first. */
function mostlyOf(tensors: readonly TensorInfo[]): number {
  const counts = new Map<DType, number>()
  let most: { dtype: DType; count: number } = { dtype: 'F32', count: 0 }
  for (const { dtype } of tensors) {
    const count = (counts.get(dtype) ?? 0) + 1
    counts.set(dtype, count)
    if (count > most.count) most = { dtype, count }
  }
  return FILE_TYPES[most.dtype] ?? 0
}
