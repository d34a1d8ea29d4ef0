/** The safetensors format, as the engines and the stages see it. */
import { AprError } from '../../model/errors.js'
import type { FormatOf } from '../format.js'
import type { SafetensorsModel } from './model.js'

export const safetensors: FormatOf<SafetensorsModel> = {
  name: 'safetensors',
  extension: '.safetensors',
  nameInFolder: 'model.safetensors',
  matches: (start) => start === undefined || start[8] === 0x7b,
  open: () => {
    throw new AprError('APR_UNSUPPORTED', 'not yet')
  },
  layout: () => {
    throw new AprError('APR_UNSUPPORTED', 'not yet')
  },
  checkTensor: () => undefined,
  isPossibleSize: () => true,
  withTensors: (model, tensors) => Object.freeze({ ...model, tensors }),
  withQuantized: (model, tensors) => Object.freeze({ ...model, tensors }),
  metadata: () => ({}),
  withMetadata: (model) => Object.freeze({ ...model }),
  metadataBytes: () => 0,
}
