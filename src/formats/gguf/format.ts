/** The GGUF format, as the engines and the stages see it. */
import type { FormatOf } from '../format.js'
import { checkTensor, isPossibleSize } from './tensor.js'
import { layoutModel } from './layout.js'
import { changeKvs, describeKv, metadataOf, quantizedKvs } from './metadata.js'
import type { GgufModel } from './model.js'
import { openModel } from './open.js'

const MAGIC_BYTES = [0x47, 0x47, 0x55, 0x46]

export const gguf: FormatOf<GgufModel> = {
  name: 'gguf',
  extension: '.gguf',
  isSplittable: true,
  matches: (start) => start !== undefined && MAGIC_BYTES.every((byte, i) => byte === start[i]),
  open: openModel,
  layout: layoutModel,
  checkTensor,
  isPossibleSize,
  withTensors: (model, tensors) => Object.freeze({ ...model, tensors: Object.freeze([...tensors]) }),
  withQuantized(model, tensors, isQuantized) {
    const kvs = isQuantized ? Object.freeze(quantizedKvs(model.kvs)) : model.kvs
    return Object.freeze({ ...model, tensors, kvs })
  },
  metadata: ({ kvs }) => metadataOf(kvs),
  withMetadata: (model, changes) => Object.freeze({ ...model, kvs: Object.freeze(changeKvs(model.kvs, changes)) }),
  describeMetadata: ({ kvs }) => kvs.map(describeKv),
  metadataBytes: ({ kvs }) => kvs.reduce((sum, { key, data }) => sum + key.length + data.length, 0),
}
