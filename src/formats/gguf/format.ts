/** The GGUF format, as the engines and the stages see it. */
import { tensorBytes } from '../../model/tensor.js'
import { isDType } from '../../model/dtypes.js'
import type { FormatOf } from '../format.js'
import { checkTensor } from './header.js'
import { layoutModel } from './layout.js'
import { changeKvs, metadataOf } from './metadata.js'
import type { GgufModel } from './model.js'
import { openModel } from './open.js'

const MAGIC_BYTES = [0x47, 0x47, 0x55, 0x46]

/** `general.file_type` where most tensors are Q4_K: llama.cpp's MOSTLY_Q4_K_S, its recipe without larger tensors. */
const MOSTLY_Q4_K_S = 14
const QUANTIZATION_VERSION = 2

export const gguf: FormatOf<GgufModel> = {
  name: 'gguf',
  extension: '.gguf',
  matches: (start) => start !== undefined && MAGIC_BYTES.every((byte, i) => byte === start[i]),
  open: openModel,
  layout: layoutModel,
  checkTensor,
  isPossibleSize: ({ dtype, shape, size }) => isDType(dtype) && size === tensorBytes(dtype, shape),
  withTensors: (model, tensors) => Object.freeze({ ...model, tensors: Object.freeze([...tensors]) }),
  withQuantized(model, tensors, isQuantized) {
    const changes = { 'general.file_type': MOSTLY_Q4_K_S, 'general.quantization_version': QUANTIZATION_VERSION }
    const kvs = isQuantized ? Object.freeze(changeKvs(model.kvs, changes)) : model.kvs
    return Object.freeze({ ...model, tensors, kvs })
  },
  metadata: ({ kvs }) => metadataOf(kvs),
  withMetadata: (model, changes) => Object.freeze({ ...model, kvs: Object.freeze(changeKvs(model.kvs, changes)) }),
  metadataBytes: ({ kvs }) => kvs.reduce((sum, { key, data }) => sum + key.length + data.length, 0),
}
