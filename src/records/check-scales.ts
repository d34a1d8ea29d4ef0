/** The check of block scales that everything that is read goes through. */
import { DTYPES } from '../model/dtypes.js'
import { AprError } from '../model/errors.js'
import { blockElement, tensorBytes, type TensorInfo } from '../model/tensor.js'
import { nonFiniteScale } from '../quant/runs/scales.js'

/**
 * A K-quant block whose scale is NaN or infinite decodes to nothing but such values.
 * @param offset of the data in its tensor: at a block's start
 * @throws AprError `APR_BAD_VALUE`
 */
export function checkScales(
  { name, dtype, shape, size }: TensorInfo,
  data: Uint8Array,
  offset: number,
  file: string,
): void {
  const block = nonFiniteScale(dtype, data)
  if (block === undefined) return
  const index = offset / DTYPES[dtype].blockBytes + block
  const isFlat = size !== tensorBytes(dtype, shape)
  throw new AprError('APR_BAD_VALUE', `expected finite scales, found one that is not in super-block ${index}`, {
    file,
    tensor: name,
    element: blockElement(dtype, isFlat ? [] : shape, index),
  })
}
