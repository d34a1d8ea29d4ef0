/** The readable reference: a kernel in plain JavaScript, one block after the other. */
import { DTYPES, SUPER_BLOCK_ELEMENTS } from '../model/dtypes.js'
import { BLOCK_TYPES } from './block-types.js'
import { bf16ToF32, f16ToF32, f32ToBF16, f32ToF16 } from './float.js'
import { INFINITY_16, MAX_OUTPUT_BYTES, type Fitting, type Kernel } from './kernel.js'

/** @param maxBlocks super-blocks that its memory takes */
export function createScalarKernel(maxBlocks = 64): Kernel {
  const input = new Float32Array(maxBlocks * SUPER_BLOCK_ELEMENTS)
  const kernel: Kernel = {
    input,
    importance: new Float32Array(input.length),
    rowMeanSquares: new Float32Array(input.length / 32),
    output: new Uint8Array(maxBlocks * MAX_OUTPUT_BYTES),
    widen(dtype, bytes, start, count) {
      const toF32 = dtype === 'F16' ? f16ToF32 : bf16ToF32
      for (let i = 0; i < count; i++) {
        input[start + i] = toF32((bytes[2 * i] ?? 0) | ((bytes[2 * i + 1] ?? 0) << 8))
      }
    },
    fit: (fitting, blocks) => fitScalar(kernel, fitting, blocks),
    add(value, count) {
      for (let i = 0; i < count; i++) input[i] = (input[i] ?? 0) + value
    },
    narrow(dtype, count, target) {
      const view = new DataView(target.buffer, target.byteOffset, target.byteLength)
      for (let i = 0; i < count; i++) {
        const value = input[i] ?? 0
        const pattern = dtype === 'F32' ? 0 : dtype === 'F16' ? f32ToF16(value) : f32ToBF16(value)
        const isInfinite = dtype !== 'F32' && (pattern & 0x7fff) >= INFINITY_16[dtype]
        if (!Number.isFinite(value) || isInfinite) return i
        if (dtype === 'F32') view.setFloat32(i * 4, value, true)
        else view.setUint16(i * 2, pattern, true)
      }
      return -1
    },
    firstNotFinite(dtype, bytes, count) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      for (let i = 0; i < count; i++) {
        const isFinite =
          dtype === 'F32'
            ? Number.isFinite(view.getFloat32(i * 4, true))
            : (view.getUint16(i * 2, true) & 0x7fff) < INFINITY_16[dtype]
        if (!isFinite) return i
      }
      return -1
    },
  }
  return kernel
}

/** Fits what a kernel's memory holds, block by block. */
function fitScalar(
  { input, importance, rowMeanSquares, output }: Kernel,
  { dtype, fit, isWeighted = false }: Fitting,
  blocks: number,
): boolean {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const type = BLOCK_TYPES[dtype]
  const fitBlock = type?.[fit] ?? (fit === 'refined' ? type?.search : undefined)
  if (!fitBlock) throw new Error(`${dtype} has no fit ${fit}`)
  for (let block = 0; block < blocks; block++) {
    const start = block * blockElements
    const x = input.subarray(start, start + blockElements)
    if (!x.every(Number.isFinite)) return false
    const weighting = isWeighted
      ? { importance: importance.subarray(start, start + blockElements), rowMeanSquare: rowMeanSquares[block] ?? 0 }
      : undefined
    fitBlock(x, output, block * blockBytes, weighting)
  }
  return true
}
