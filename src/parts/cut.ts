/** How an output is cut: into blocks, and these into units of work. */
import type { PartsPlan } from './blocks.js'

const MIB = 1024 * 1024

/**
 * Blocks begin at multiples of it. On a network file system a client may write whole pages: two that write into one page
 * would undo each other's work, and no machine has larger pages.
 */
export const BLOCK_STEP_BYTES = 64 * 1024

/** Object storage takes 10,000 parts at the most. */
const MAX_BLOCKS = 9000
const LEAST_BLOCK_BYTES = 16 * MIB
const DEFAULT_STEP_BYTES = 8 * MIB

/** A killed worker loses one unit at the most, and so much is made in seconds. */
const UNIT_BYTES = 512 * MIB
/** As many tasks as an array of Slurm has where nobody has set it higher. */
const MAX_UNITS = 1000

/** Bytes of a block, where nobody says it. */
export function blockBytesFor(totalBytes: number): number {
  return Math.max(LEAST_BLOCK_BYTES, Math.ceil(totalBytes / MAX_BLOCKS / DEFAULT_STEP_BYTES) * DEFAULT_STEP_BYTES)
}

/** Bytes of a unit, where nobody says it. */
export function unitBytesFor(totalBytes: number): number {
  return Math.max(UNIT_BYTES, Math.ceil(totalBytes / MAX_UNITS))
}

/** Number of blocks. */
export function blockCount({ totalBytes, blockBytes }: Pick<PartsPlan, 'totalBytes' | 'blockBytes'>): number {
  return Math.ceil(totalBytes / blockBytes)
}

/** Where a block stands in the output. */
export function blockRange(
  { totalBytes, blockBytes }: Pick<PartsPlan, 'totalBytes' | 'blockBytes'>,
  block: number,
): { start: number; size: number } {
  const start = block * blockBytes
  return { start, size: Math.min(blockBytes, totalBytes - start) }
}

/** The first block that no unit has: `finish` makes it, and those behind it. */
export function firstOfFinish({ units }: Pick<PartsPlan, 'units'>): number {
  return units.at(-1)?.[1] ?? 0
}

/**
 * Cuts the blocks into units of about the same size. What holds bytes of the tail, and the last block of all, is not among
 * them: these bytes follow from all others.
 * @param tailBytes behind the data of the last tensor
 */
export function cutUnits(
  totalBytes: number,
  tailBytes: number,
  blockBytes: number,
  unitBytes: number,
): [number, number][] {
  const last = blockCount({ totalBytes, blockBytes }) - 1
  const blocks = Math.max(0, Math.min(last, Math.floor((totalBytes - tailBytes) / blockBytes)))
  const wanted = Math.max(1, Math.round(unitBytes / blockBytes))
  const count = Math.max(1, Math.ceil(blocks / wanted))
  return Array.from({ length: count }, (_, unit) => [
    Math.floor((unit * blocks) / count),
    Math.floor(((unit + 1) * blocks) / count),
  ])
}
