/** The GGUF format, as the engines and the stages see it. */
import { AprError } from '../../model/errors.js'
import type { FormatOf } from '../format.js'
import type { GgufModel } from './model.js'

export const gguf: FormatOf<GgufModel> = {
  name: 'gguf',
  extension: '.gguf',
  matches: (start) => start !== undefined && [0x47, 0x47, 0x55, 0x46].every((byte, i) => byte === start[i]),
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
