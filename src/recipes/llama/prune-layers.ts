/** A model without some of its blocks, as `llama-quantize --prune-layers` makes it. */
import type { TensorInfo } from '../../model/tensor.js'

const BLOCK = /blk\.(\d+)\./

/**
 * Drops blocks, and numbers those behind them anew.
 * @param layers numbers of the blocks that are dropped; one that is not there is none
 * @returns the names that the tensors that stay have had, by those that they have now
 */
export function pruneLayers(tensors: readonly TensorInfo[], layers: readonly number[]): ReadonlyMap<string, string> {
  const numbers = new Set(tensors.flatMap(({ name }) => blockOf(name) ?? []))
  const first = Math.min(...layers)
  const renumbered = new Map<number, number>()
  let next = 0
  for (const number of [...numbers].sort((a, b) => a - b)) {
    if (layers.includes(number)) continue
    // Those before the first keep their numbers, also where some are missing.
    const own = number < first ? number : next
    renumbered.set(number, own)
    next = own + 1
  }
  const sources = new Map<string, string>()
  for (const { name } of tensors) {
    const number = blockOf(name)
    const own = renumbered.get(number ?? -1)
    if (number === undefined) sources.set(name, name)
    else if (own !== undefined) sources.set(name.replace(BLOCK, `blk.${own}.`), name)
  }
  return sources
}

/** The blocks that are left: their highest number, and one more. */
export function blockCount(tensors: readonly TensorInfo[]): number {
  return tensors.reduce((count, { name }) => Math.max(count, (blockOf(name) ?? -1) + 1), 0)
}

function blockOf(name: string): number | undefined {
  const number = BLOCK.exec(name)?.[1]
  return number === undefined ? undefined : Number(number)
}
