import { nameTwice } from '../model/names.js'
import type { TensorInfo } from '../model/tensor.js'

/**
 * The tensors that have reached a stage. While they come as their model announces them, and in its order, this keeps
 * no more than their number.
 */
export class ArrivedTensors {
  #announced: readonly TensorInfo[] = []
  /** So many of the announced have come, from the first on, and nothing else. */
  #count = 0
  /** All that have come, by name, from the first on that is not the next of the announced. */
  #all: Map<string, TensorInfo> | undefined

  /**
   * Takes note of a tensor, when its first record comes.
   * @param announced the tensors of the record's model
   * @throws AprError `APR_BAD_INDEX` when one of that name has come before
   */
  add(tensor: TensorInfo, announced: readonly TensorInfo[]): void {
    if (this.#all === undefined) {
      if (this.#count === 0) this.#announced = announced
      const next = this.#announced[this.#count]
      if (announced === this.#announced && next && isSameTensor(next, tensor)) {
        this.#count++
        return
      }
    }
    const all = (this.#all ??= this.#byName())
    const { name, dtype, shape, size } = tensor
    if (all.has(name)) throw nameTwice(name)
    all.set(name, Object.freeze({ name, dtype, shape, size }))
  }

  /** All that have come: `expected` itself where it is these, in whatever order. */
  tensorsOr(expected: readonly TensorInfo[]): readonly TensorInfo[] {
    const isCounted = this.#all === undefined && this.#announced === expected
    if (isCounted && this.#count === expected.length) return expected
    const all = this.#byName()
    const isExpected = (tensor: TensorInfo): boolean => {
      const arrived = all.get(tensor.name)
      return arrived !== undefined && isSameTensor(arrived, tensor)
    }
    return all.size === expected.length && expected.every(isExpected) ? expected : [...all.values()]
  }

  #byName(): Map<string, TensorInfo> {
    return this.#all ?? new Map(this.#announced.slice(0, this.#count).map((tensor) => [tensor.name, tensor]))
  }
}

export function isSameTensor(a: TensorInfo, b: TensorInfo): boolean {
  if (a.name !== b.name || a.dtype !== b.dtype || a.size !== b.size) return false
  return a.shape === b.shape || (a.shape.length === b.shape.length && a.shape.every((n, i) => n === b.shape[i]))
}
