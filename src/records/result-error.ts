/** What is wrong with a run that could not be converted, in the words of a user. */
import { AprError } from '../model/errors.js'
import { blockElement, type TensorInfo } from '../model/tensor.js'
import type { TaskResult } from '../quant/runs/task.js'

/**
 * @param from the run's tensor, of whose element and block the run starts
 * @param cure says how a user leaves out what holds such a value
 */
export function resultError(
  result: Exclude<TaskResult, { readonly data: Uint8Array }>,
  from: TensorInfo,
  to: TensorInfo,
  { first, firstBlock }: { readonly first: number; readonly firstBlock: number },
  cure: (value: number) => string,
): AprError {
  const tensor = from.name
  if ('hugeBlock' in result) {
    const element = blockElement(to.dtype, from.shape, firstBlock + result.hugeBlock)
    const what = `expected numbers whose scale ${to.dtype} can hold, found larger ones in a block; ${cure(Infinity)}`
    return new AprError('APR_BAD_VALUE', what, { tensor, element })
  }
  const { element, value } = result.bad
  const expected = Number.isFinite(value) ? `numbers that ${to.dtype} can hold` : 'finite numbers'
  const place = { tensor, element: first + element, value }
  return new AprError('APR_BAD_VALUE', `expected ${expected}, found ${value}; ${cure(value)}`, place)
}
