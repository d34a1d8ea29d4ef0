/** What is kept of an importance matrix: where each tensor's values stand. */
import { AprError } from '../../model/errors.js'

export interface ImportanceIndex {
  readonly entries: ReadonlyMap<string, Entry>
  readonly dataset: string | undefined
  readonly chunks: number | undefined
}

/** The values of one tensor. */
export interface Entry {
  /** Byte offset of its values, F32. */
  readonly position: number
  /** Number of them: those of the first matrix, then those of the next. */
  readonly size: number
  /** What the values of each matrix are divided by: f32 whole numbers, 0 where a matrix was never measured. */
  readonly counts: Float32Array
}

/** More than any model has; each takes memory. */
export const MAX_ENTRIES = 1_000_000
/** Matrices of a stack: the largest models have some hundred experts. */
export const MAX_MATRICES = 65_536

/** @throws AprError `APR_LIMIT` */
export function checkLimit(count: number, most: number, what: string, tensor?: string): void {
  if (count <= most) return
  throw new AprError('APR_LIMIT', `expected at most ${most} ${what}, found ${count}`, { tensor })
}

/** What the file says of its chunks of text, where that is a number of them. */
export function chunksOf(count: number): number | undefined {
  return count > 0 && count < 2 ** 31 ? count : undefined
}
