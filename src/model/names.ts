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

/**
 * Orders names by their bytes in UTF-8, which is by code point. (JavaScript's own order is by UTF-16
 * unit, and differs where a name has a character outside the basic plane.)
 */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x === y) continue
    const isSurrogateX = x >= 0xd800 && x <= 0xdfff
    const isSurrogateY = y >= 0xd800 && y <= 0xdfff
    // A surrogate stands for a code point above every other unit.
    return isSurrogateX === isSurrogateY ? x - y : isSurrogateX ? 1 : -1
  }
  return a.length - b.length
}
