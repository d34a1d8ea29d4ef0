/** What happens where the rows of a tensor are not whole blocks. */
import { DTYPES } from '../model/dtypes.js'
import type { TensorInfo } from '../model/tensor.js'
import type { TargetDType } from './names.js'

/** Blocks of 32 in the place of super-blocks. */
const SMALLER = {
  ...{ Q2_K: 'Q4_0', Q3_K: 'Q4_0', Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0', IQ4_XS: 'IQ4_NL' },
} as const satisfies Partial<Record<TargetDType, TargetDType>>

/**
 * Whether a tensor can be of a dtype as it is.
 * @param padsRows whether the rows of a matrix are filled up to whole super-blocks
 */
export function fitsRows({ shape }: TensorInfo, dtype: TargetDType, padsRows: boolean): boolean {
  const info = DTYPES[dtype]
  return (padsRows && info.padsRows && shape.length === 2) || (shape.at(-1) ?? 1) % info.blockElements === 0
}

/** The dtype that a tensor gets instead of one that does not fit: one of blocks of 32, or where these do not fit either F16. */
export function fallbackOf(tensor: TensorInfo, dtype: TargetDType): TargetDType {
  const smaller = (SMALLER as Partial<Record<TargetDType, TargetDType>>)[dtype]
  return smaller !== undefined && fitsRows(tensor, smaller, false) ? smaller : 'F16'
}
