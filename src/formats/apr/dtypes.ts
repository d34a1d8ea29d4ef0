import { AprError } from '../../model/errors.js'
import type { DType } from '../../model/dtypes.js'

/** The id of each dtype in the tensor index: the one that writers use. */
const IDS: Record<DType, number> = {
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

const DTYPES = new Map<number, DType>([
  ...(Object.keys(IDS) as DType[]).map((dtype) => [IDS[dtype], dtype] as const),
  // Files older than March 2026 use these.
  [2, 'BF16'],
  [8, 'APR_Q4'],
  [9, 'APR_Q8'],
])

export function encodeDType(dtype: DType): number {
  return IDS[dtype]
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
