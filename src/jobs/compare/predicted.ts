/** What a tensor's error does to the model, as far as its kind tells. */
import { sensitivityOf } from '../../recipes/budget/candidates.js'
import { categoryOf } from '../../recipes/categories.js'
import type { TensorFigures } from '../../quality/report-data.js'

/**
 * Adds estimates of the KL divergence, in nats a token: constants of the kinds, measured on one small model, times the square
 * of the relative error. Norms and what else is of no kind that was measured get none.
 */
export function withPredictions(tensors: readonly TensorFigures[]): TensorFigures[] {
  const layers = new Set(tensors.flatMap(({ layer }) => (layer === null ? [] : [layer]))).size
  const isTied = !tensors.some(({ tensorKind }) => tensorKind === 'output')
  return tensors.map((tensor) => {
    const { tensorKind, relativeError, weightedError } = tensor
    // As in GGUF, whatever its own name is.
    const name = `${tensorKind}.weight`
    const error = weightedError ?? relativeError
    if (error === null || isUnknown(name)) return tensor
    return {
      ...tensor,
      predictedKl: sensitivityOf({ ...ANY, name }, { layers, isTied, hasMatrix: false }) * error ** 2,
    }
  })
}

const ANY = { dtype: 'F32', shape: [], size: 0 } as const

function isUnknown(name: string): boolean {
  return categoryOf(name) === 'other' || name.includes('_norm') || name.includes('_inp') || name.includes('.bias')
}
