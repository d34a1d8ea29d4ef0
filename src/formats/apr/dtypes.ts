import { AprError } from '../../model/errors.js'
import type { DType } from '../../model/dtypes.js'

/** The id in the tensor index of each dtype that the format holds: the one that writers use. */
const IDS: Partial<Record<DType, number>> = {
  F32: 0,
  F16: 1,
  F64: 3,
  I32: 4,
  I64: 5,
  I8: 6,
  U8: 7,
  Q4_K: 12,
  Q6_K: 14,
  BF16: 30,
  APR_Q4: 128,
  APR_Q8: 129,
}

/** The dtypes that the format holds. */
export const HELD_DTYPES = Object.keys(IDS) as DType[]

const DTYPES = new Map<number, DType>([
  ...(Object.entries(IDS) as [DType, number][]).map(([dtype, id]) => [id, dtype] as const),
  // Files older than March 2026 use these.
  [2, 'BF16'],
  [8, 'APR_Q4'],
  [9, 'APR_Q8'],
])

/**
 * @param tensor whose it is, for the error
 * @throws AprError `APR_UNSUPPORTED` for a dtype that the format does not hold
 */
export function encodeDType(dtype: DType, tensor?: string): number {
  const id = IDS[dtype]
  if (id !== undefined) return id
  const held = HELD_DTYPES.join(', ')
  throw new AprError('APR_UNSUPPORTED', `expected a dtype that APR holds (${held}), found ${dtype}`, { tensor })
}

/** @throws AprError `APR_UNSUPPORTED` for an id that no dtype has. */
export function decodeDType(id: number): DType {
  const dtype = DTYPES.get(id)
  if (dtype === undefined) {
    const known = Object.entries(IDS).map(([name, value]) => `${name} (${value})`)
    throw new AprError('APR_UNSUPPORTED', `expected one of the dtypes ${known.join(', ')}, found dtype id ${id}`)
  }
  return dtype
}
