/** The safetensors format, as the engines and the stages see it. */
import { isDType } from '../../model/dtypes.js'
import { AprError, printable } from '../../model/errors.js'
import { found } from '../../model/found.js'
import { tensorBytes } from '../../model/tensor.js'
import type { FormatOf } from '../format.js'
import { checkTensor, layoutModel } from './layout.js'
import type { SafetensorsModel } from './model.js'
import { openModel } from './open.js'
import { isIndexName, SINGLE_NAME } from './shards.js'

/** Where a header starts. */
const BRACE = 0x7b
const SPACES = [0x20, 0x09, 0x0a, 0x0d]

export const safetensors: FormatOf<SafetensorsModel> = {
  name: 'safetensors',
  extension: '.safetensors',
  isSplittable: true,
  nameInFolder: SINGLE_NAME,
  isPart,
  matches: (start, fileName) => start === undefined || isIndexName(fileName) || isStart(start),
  open: openModel,
  layout: layoutModel,
  checkTensor,
  isPossibleSize: ({ dtype, shape, size }) => isDType(dtype) && size === tensorBytes(dtype, shape),
  withTensors: (model, tensors) => Object.freeze({ ...model, tensors: Object.freeze([...tensors]) }),
  withQuantized: (model, tensors) => Object.freeze({ ...model, tensors }),
  metadata: ({ metadata }) => metadata,
  withMetadata: (model, changes) => Object.freeze({ ...model, metadata: changed(model.metadata, changes) }),
  describeMetadata: ({ metadata }) => {
    return Object.entries(metadata).map(([key, value]) => ({ key, type: 'string', value }))
  },
  metadataBytes: ({ files }) => [...files.values()].reduce((sum, { length }) => sum + length, 0),
}

/** Any of its index, its shards in whatever number, and the file that is the whole of it. */
function isPart(name: string, fileName: string): boolean {
  const stem = name.replace(/\.safetensors$/, '')
  if (!fileName.startsWith(stem)) return false
  return (
    fileName === name ||
    /^(-\d{5}-of-\d{5})?\.safetensors$|^\.safetensors\.index\.json$/.test(fileName.slice(stem.length))
  )
}

/** Whether a header can follow: behind its length an object, or spaces before one. */
function isStart(start: Uint8Array): boolean {
  const [first] = start.subarray(8)
  const length = start.length < 8 ? 0 : new DataView(start.buffer, start.byteOffset).getUint32(4, true)
  return length === 0 && first !== undefined && (first === BRACE || SPACES.includes(first))
}

/** @throws AprError `APR_BAD_METADATA` for a value that is no text */
function changed(
  metadata: Readonly<Record<string, string>>,
  changes: Readonly<Record<string, unknown>>,
): Readonly<Record<string, string>> {
  const result = new Map<string, string>(Object.entries(metadata))
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) result.delete(key)
    else if (typeof value === 'string') result.set(key, value)
    else {
      const what = `expected a text for "${printable(key)}", which is all that safetensors hold, found ${found(value)}`
      throw new AprError('APR_BAD_METADATA', what)
    }
  }
  return Object.freeze(Object.fromEntries(result))
}
