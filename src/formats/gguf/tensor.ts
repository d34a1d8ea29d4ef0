/** What a tensor must be to stand in a GGUF file. */
import { DTYPES, isDType } from '../../model/dtypes.js'
import { AprError } from '../../model/errors.js'
import { elementCount, tensorBytes, type TensorInfo } from '../../model/tensor.js'
import { isWellFormed, utf8Bytes } from '../../model/utf8.js'
import { encodeDType } from './dtypes.js'

/** ggml's own limits: a name in bytes, without the NUL that it puts behind it, and the number of dimensions. */
const MAX_NAME_BYTES = 63
export const MAX_DIMENSIONS = 4

/** Whether a tensor's size is that of its dtype and shape. A row must be whole blocks. */
export function isPossibleSize({ dtype, shape, size }: TensorInfo): boolean {
  return isDType(dtype) && rowRemainder({ dtype, shape }) === 0 && size === tensorBytes(dtype, shape)
}

/** @throws AprError for a tensor that the format cannot hold */
export function checkTensor(tensor: TensorInfo): void {
  const { name, dtype, shape, size } = tensor
  const place = { tensor: name }
  if (!isWellFormed(name)) {
    throw new AprError('APR_BAD_RECORD', 'expected a tensor name of whole characters, found a lone surrogate', place)
  }
  const nameBytes = utf8Bytes(name)
  if (nameBytes > MAX_NAME_BYTES) {
    const what = `expected a tensor name of at most ${MAX_NAME_BYTES} bytes, found ${nameBytes}`
    throw new AprError('APR_LIMIT', what, place)
  }
  if (shape.length > MAX_DIMENSIONS) {
    const what = `expected at most ${MAX_DIMENSIONS} dimensions, found ${shape.length}`
    throw new AprError('APR_LIMIT', what, place)
  }
  encodeDType(dtype, name)
  // Exact, where a product that has wrapped would look small.
  if (!Number.isSafeInteger(elementCount(shape))) {
    throw new AprError('APR_LIMIT', `expected less than 2^53 elements, found [${shape.join(', ')}]`, place)
  }
  if (rowRemainder(tensor) !== 0) {
    const what = `expected rows of whole blocks of ${DTYPES[dtype].blockElements} elements of ${dtype}, found rows of ${shape.at(-1) ?? 1}`
    throw new AprError('APR_BAD_INDEX', what, place)
  }
  if (size !== tensorBytes(dtype, shape)) {
    const what = `expected ${tensorBytes(dtype, shape)} bytes of ${dtype} [${shape.join(', ')}], found ${size}`
    throw new AprError('APR_BAD_RECORD', what, place)
  }
  checkSafe(size, name)
}

/** @throws AprError `APR_LIMIT` for bytes that a number does not hold exactly */
export function checkSafe(bytes: number, tensor: string): void {
  if (Number.isSafeInteger(bytes)) return
  throw new AprError('APR_LIMIT', 'expected sizes of less than 2^53 bytes, found more', { tensor })
}

function rowRemainder({ dtype, shape }: Pick<TensorInfo, 'dtype' | 'shape'>): number {
  return (shape.at(-1) ?? 1) % DTYPES[dtype].blockElements
}
