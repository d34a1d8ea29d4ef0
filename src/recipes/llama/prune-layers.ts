/** A model without some of its blocks, as `llama-quantize --prune-layers` makes it. */
import type { TensorInfo } from '../../model/tensor.js'

/** What is left of a model. */
export interface Pruned {
  /** The tensors that stay, by the names that they have now, and the names that they had. */
  readonly sources: ReadonlyMap<string, string>
  /** Blocks that are left: the new `block_count`. */
  readonly blocks: number
}

const BLOCK = /blk\.(\d+)\./

/**
 * Drops blocks, and numbers those behind them anew.
 * @param layers numbers of the blocks that are dropped; one that is not there is none
 */
export function pruneLayers(tensors: readonly TensorInfo[], layers: readonly number[]): Pruned {
  const numbers = new Set(tensors.flatMap(({ name }) => BLOCK.exec(name)?.slice(1).map(Number) ?? []))
  const first = Math.min(...layers)
  const renumbered = new Map<number, number>()
  let blocks = 0
  for (const number of [...numbers].sort((a, b) => a - b)) {
    if (layers.includes(number)) continue
    // Those before the first keep their numbers, also where some are missing.
    const own = number < first ? number : blocks
    renumbered.set(number, own)
    blocks = own + 1
  }
  const sources = new Map<string, string>()
  for (const { name } of tensors) {
    const [, number] = BLOCK.exec(name) ?? []
    const to = number === undefined ? undefined : renumbered.get(Number(number))
    if (number === undefined) sources.set(name, name)
    else if (to !== undefined) sources.set(name.replace(BLOCK, `blk.${to}.`), name)
  }
  return { sources, blocks }
}
