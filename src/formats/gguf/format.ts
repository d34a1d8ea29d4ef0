/** The GGUF format, as the engines and the stages see it. */
import type { FormatOf } from '../format.js'
import { typeName } from './kv.js'
import { checkTensor, isPossibleSize } from './tensor.js'
import { layoutModel } from './layout.js'
import { changeKvs, metadataOf, quantizedKvs } from './metadata.js'
import type { GgufModel } from './model.js'
import { openModel } from './open.js'

const MAGIC_BYTES = [0x47, 0x47, 0x55, 0x46]

export const gguf: FormatOf<GgufModel> = {
  name: 'gguf',
  extension: '.gguf',
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
  metadataTypes: ({ kvs }) => Object.fromEntries(kvs.map((pair) => [pair.key, typeName(pair)])),
  metadata: ({ kvs }) => metadataOf(kvs),
  withMetadata: (model, changes) => Object.freeze({ ...model, kvs: Object.freeze(changeKvs(model.kvs, changes)) }),
  metadataBytes: ({ kvs }) => kvs.reduce((sum, { key, data }) => sum + key.length + data.length, 0),
}
