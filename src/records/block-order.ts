/** Blocks whose elements stand in another order in a converted tensor. */
import type { BlockOrder } from '../convert/tensor-plan.js'

/**
 * Orders whole blocks.
 * @param source their bytes, one behind the other
 * @param elementBytes 2 or 4
 * @param target takes as many bytes
 */
export function orderBlocks(order: BlockOrder, source: Uint8Array, elementBytes: 2 | 4, target: Uint8Array): void {
  const blockBytes = order.rows * order.cols * elementBytes
  for (let start = 0; start < source.length; start += blockBytes) {
    const from = source.subarray(start, start + blockBytes)
    const to = target.subarray(start, start + blockBytes)
    if (order.kind === 'rope') orderRope(order, from, elementBytes, to)
    else transpose(order, numbers(from, elementBytes), elementBytes, to)
  }
}

function orderRope({ rows, cols }: BlockOrder, source: Uint8Array, elementBytes: number, target: Uint8Array): void {
  const rowBytes = cols * elementBytes
  for (let row = 0; row < rows; row++) {
    const from = ((row % 2) * (rows / 2) + (row >> 1)) * rowBytes
    target.set(source.subarray(from, from + rowBytes), row * rowBytes)
  }
}

function transpose(
  { rows, cols }: BlockOrder,
  source: Uint16Array | Uint32Array,
  elementBytes: 2 | 4,
  target: Uint8Array,
): void {
  const to = numbers(target, elementBytes)
  for (let col = 0; col < cols; col++) {
    for (let row = 0, from = col; row < rows; row++, from += cols) to[col * rows + row] = source[from] ?? 0
  }
}

/** Bytes as whole patterns. What does not stand where these may is copied: never a target, which has a buffer of its own. */
function numbers(bytes: Uint8Array, elementBytes: 2 | 4): Uint16Array | Uint32Array {
  const { buffer, byteOffset, length } = bytes.byteOffset % elementBytes === 0 ? bytes : bytes.slice()
  const count = length / elementBytes
  return elementBytes === 2 ? new Uint16Array(buffer, byteOffset, count) : new Uint32Array(buffer, byteOffset, count)
}
