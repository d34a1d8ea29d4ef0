/** How far a decoded Q4_K tensor is from the F32 tensor it was made of. */
import { dequantizeQ4K } from 'apr-stream'

const SUPER_BLOCK_ELEMENTS = 256

/** Root of the mean squared error, divided by the root mean square of the original. */
export function relativeError(original, quantized) {
  const expected = new Float32Array(original.bytes.buffer, original.bytes.byteOffset, original.bytes.length / 4)
  const found = dequantizeQ4K(quantized.bytes)
  // The rows of a matrix are padded to whole super-blocks; any other tensor is one run of elements.
  const columns = original.shape.length === 2 ? original.shape[1] : expected.length
  const stride = Math.ceil(columns / SUPER_BLOCK_ELEMENTS) * SUPER_BLOCK_ELEMENTS
  let error = 0
  let power = 0
  expected.forEach((value, i) => {
    const decoded = found[Math.floor(i / columns) * stride + (i % columns)]
    error += (decoded - value) ** 2
    power += value ** 2
  })
  return Math.sqrt(error / power)
}
