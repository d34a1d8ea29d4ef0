/** What errors are weighted by, tensor by tensor. */
import { AprError, printable } from '../../model/errors.js'
import { columnsOf, elementCount, type TensorInfo } from '../../model/tensor.js'
import { openMatrix } from '../../streams/quantize/recipe.js'
import type { MatrixImportance } from '../../streams/quantize/quantization.js'
import { matrixPlaces, type Side } from './sides.js'

export interface ComparedImportance {
  readonly file: string
  /** Undefined where the matrix does not tell of a tensor. */
  readonly of: (tensor: TensorInfo) => MatrixImportance | undefined
  close(): Promise<void>
}

/** @throws AprError `APR_BAD_INDEX` for a matrix of another model */
export async function importanceFor(
  side: Side,
  { imatrix, config }: { readonly imatrix: string | undefined; readonly config: string | undefined },
): Promise<ComparedImportance | undefined> {
  const found = await openMatrix({ imatrix })
  if (!found) return undefined
  const { matrix, file } = found
  try {
    const placeOf = await matrixPlaces(side, config)
    return {
      file,
      of(tensor) {
        const { entry, matrix: first } = placeOf(tensor.name) ?? { entry: tensor.name, matrix: 0 }
        if (tensor.shape.length < 2 || !matrix.has(entry)) return undefined
        const width = columnsOf(tensor)
        const matrices = elementCount(tensor.shape.slice(0, -2))
        const size = matrix.sizeOf(entry)
        if (size % width !== 0 || size < (first + matrices) * width) {
          const what = `expected importances of ${width} columns of ${first + matrices} matrices, found ${size} values for "${printable(entry)}": the importance matrix is another model's`
          throw new AprError('APR_BAD_INDEX', what, { tensor: tensor.name })
        }
        return { read: (index, count) => matrix.read(entry, (first + index) * width, count * width) }
      },
      close: () => matrix.close(),
    }
  } catch (error) {
    await matrix.close()
    throw error
  }
}
