import { AprError } from '../../model/errors.js'
import type { DType } from '../../model/dtypes.js'

/** The id of each dtype that the format holds. The gaps are ids of types that were removed. */
const IDS: Partial<Record<DType, number>> = {
  ...{ F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q8_1: 9 },
  ...{ Q2_K: 10, Q3_K: 11, Q4_K: 12, Q5_K: 13, Q6_K: 14, Q8_K: 15 },
  ...{ IQ2_XXS: 16, IQ2_XS: 17, IQ3_XXS: 18, IQ1_S: 19, IQ4_NL: 20, IQ3_S: 21, IQ2_S: 22, IQ4_XS: 23 },
  ...{ I8: 24, I16: 25, I32: 26, I64: 27, F64: 28, IQ1_M: 29, BF16: 30 },
  ...{ TQ1_0: 34, TQ2_0: 35, MXFP4: 39, NVFP4: 40, Q1_0: 41, Q2_0: 42 },
}

const BY_ID = new Map((Object.entries(IDS) as [DType, number][]).map(([dtype, id]) => [id, dtype]))

/** Whether `name` is that of a dtype that the format holds. */
export function isGgufDType(name: string): name is DType {
  return Object.hasOwn(IDS, name)
}

/** @throws AprError `APR_UNSUPPORTED` for a dtype that the format does not hold */
export function encodeDType(dtype: DType, tensor?: string): number {
  const id = IDS[dtype]
  if (id !== undefined) return id
  throw new AprError('APR_UNSUPPORTED', `expected a dtype that GGUF holds, found ${dtype}`, { tensor })
}

/** @throws AprError `APR_UNSUPPORTED` for an id that no dtype has */
export function decodeDType(id: number, tensor: string): DType {
  const dtype = BY_ID.get(id)
  if (dtype !== undefined) return dtype
  const what = `expected the id of a dtype, 0 to 42 but for those that were removed, found ${id}`
  throw new AprError('APR_UNSUPPORTED', what, { tensor })
}
