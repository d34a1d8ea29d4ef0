/** Which blocks an output is made of, and what belongs into each. */
import type { Layout } from '../../../formats/format.js'

const MIB = 1024 * 1024
/** Above the 5 MiB that all parts but the last must have, and small enough for several in memory. */
const LEAST_BLOCK_BYTES = 8 * MIB
const STEP_BYTES = 8 * MIB
/** A store takes 10,000 parts at the most. */
const MAX_BLOCKS = 9000

export interface BlockTable {
  readonly fileSize: number
  readonly blockBytes: number
  /** By block: bytes of tensors that have not come yet. */
  readonly missing: Float64Array
  /** By block, 1 or 0: whether it holds bytes of the head or the tail, which are known last. */
  readonly isHeld: Uint8Array
}

export function blocksOf({ files: [{ fileSize }], tensors }: Layout): BlockTable {
  const blockBytes = Math.max(LEAST_BLOCK_BYTES, Math.ceil(fileSize / MAX_BLOCKS / STEP_BYTES) * STEP_BYTES)
  const count = Math.ceil(fileSize / blockBytes)
  const missing = new Float64Array(count)
  const isHeld = new Uint8Array(count)
  let headBytes = fileSize
  let tailStart = 0
  for (const { tensor, position } of tensors) {
    const end = position + tensor.size
    headBytes = Math.min(headBytes, position)
    tailStart = Math.max(tailStart, end)
    for (let byte = position; byte < end;) {
      const number = Math.floor(byte / blockBytes)
      const next = Math.min(end, (number + 1) * blockBytes)
      missing[number] = (missing[number] ?? 0) + next - byte
      byte = next
    }
  }
  const hold = (start: number, end: number): void => {
    if (start < end) isHeld.fill(1, Math.floor(start / blockBytes), Math.ceil(end / blockBytes))
  }
  hold(0, headBytes)
  hold(tailStart, fileSize)
  return { fileSize, blockBytes, missing, isHeld }
}
