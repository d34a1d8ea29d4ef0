import { AprError } from './errors.js'
import type { TensorInfo } from './tensor.js'

/**
 * Checks that no two tensors have one name.
 * @throws AprError `APR_BAD_INDEX`
 */
export function checkNames(tensors: readonly TensorInfo[]): void {
  // Sorted, as a file's are, they need no set, which for many tensors takes megabytes.
  if (tensors.every(({ name }, i) => i === 0 || (tensors[i - 1]?.name ?? name) < name)) return
  const names = new Set<string>()
  for (const { name } of tensors) {
    if (names.has(name)) throw nameTwice(name)
    names.add(name)
  }
}

export function nameTwice(name: string): AprError {
  return new AprError('APR_BAD_INDEX', 'expected every tensor name once, found one twice', { tensor: name })
}
