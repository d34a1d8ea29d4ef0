/** Values become blocks, as a job hands them to a kernel; and what is different about blocks. */
import { DTYPES } from '../../dist/model/dtypes.js'
import type { BlockDType } from '../../dist/quant/block.js'
import type { Fit, Kernel } from '../../dist/quant/kernel.js'

interface How {
  /** Default: search. */
  readonly fit?: Fit
  /** Of a row, the same for all rows; undefined: without. */
  readonly importance?: Float32Array | undefined
}

/** Fits rows of whole blocks. */
export function fitBlocks(
  dtype: BlockDType,
  values: Float32Array,
  kernel: Kernel,
  { fit = 'search', importance }: How = {},
): Uint8Array {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const found = new Uint8Array((values.length / blockElements) * blockBytes)
  const meanSquares = importance && blockElements < 256 ? rowMeanSquares(values, importance.length) : undefined
  for (let first = 0; first < values.length; first += kernel.input.length) {
    const part = values.subarray(first, first + kernel.input.length)
    kernel.input.set(part)
    if (importance) repeat(importance, first % importance.length, kernel.importance.subarray(0, part.length))
    for (let i = 0; meanSquares && i < part.length; i += 32) {
      kernel.rowMeanSquares[i / 32] = meanSquares[Math.floor((first + i) / (importance?.length ?? 1))] ?? 0
    }
    const blocks = part.length / blockElements
    const isFinite = kernel.fit({ dtype, fit, isWeighted: importance !== undefined }, blocks)
    if (!isFinite) throw new Error(`a value of ${dtype} is not finite`)
    found.set(kernel.output.subarray(0, blocks * blockBytes), (first / blockElements) * blockBytes)
  }
  return found
}

/** Fills `target` with a row again and again, from its element `start` on. */
function repeat(row: Float32Array, start: number, target: Float32Array): void {
  for (let position = 0, from = start; position < target.length; from = 0) {
    const part = row.subarray(from, from + target.length - position)
    target.set(part, position)
    position += part.length
  }
}

/** `sum(x * x) / n` of each row, one running sum in f32. */
function rowMeanSquares(values: Float32Array, rowElements: number): number[] {
  const { fround } = Math
  return Array.from({ length: values.length / rowElements }, (_, row) => {
    let sum = 0
    for (let i = row * rowElements; i < (row + 1) * rowElements; i++) {
      const x = values[i] ?? 0
      sum = fround(sum + fround(x * x))
    }
    return fround(sum / rowElements)
  })
}

/** Indices of the blocks that are not the same; the first ten are enough to see. */
export function differingBlocks(found: Uint8Array, expected: Uint8Array, blockBytes: number): number[] {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} bytes, found ${found.length}`)
  if (Buffer.compare(found, expected) === 0) return []
  const part = (bytes: Uint8Array, block: number): Uint8Array =>
    bytes.subarray(block * blockBytes, (block + 1) * blockBytes)
  const blocks = Array.from({ length: expected.length / blockBytes }, (_, block) => block)
  return blocks.filter((block) => Buffer.compare(part(found, block), part(expected, block)) !== 0).slice(0, 10)
}

/** The values' patterns, where a NaN is as good as another: its sign and payload are the processor's. */
export function patternsOf(values: Float32Array): Uint32Array {
  const patterns = new Uint32Array(values.buffer, values.byteOffset, values.length)
  return patterns.map((pattern) => ((pattern & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : pattern))
}
