/** Where everything stands in a file, or in the parts of a split one, as the reference converter writes them. */
import { checkNames } from '../../model/names.js'
import { AprError } from '../../model/errors.js'
import type { TensorInfo } from '../../model/tensor.js'
import { utf8Bytes } from '../../model/utf8.js'
import type { FileLayout, Layout, LayoutOptions, PlacedTensor } from '../format.js'
import { encodeDType } from './dtypes.js'
import { align, ALIGNMENT_KEY, alignmentOf, COUNTS_BYTES, MAGIC, VERSION } from './header.js'
import { KV_TYPES, kv, type Kv } from './kv.js'
import type { GgufModel } from './model.js'
import { MAX_PARTS, partName, SPLIT_KEYS, withoutSplit } from './split.js'
import { checkTensor } from './tensor.js'

/** @throws AprError for tensors that the format cannot hold, `APR_BAD_INDEX` for two of one name */
export function layoutModel(model: GgufModel, options: LayoutOptions): Layout {
  checkNames(model.tensors)
  model.tensors.forEach(checkTensor)
  const alignment = alignmentOf(model.kvs)
  const parts = cut(model.tensors, options)
  if (parts.length > MAX_PARTS) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_PARTS} parts, found ${parts.length}`)
  }
  const placed: PlacedTensor[] = []
  const files = parts.map((tensors, i): FileLayout => {
    const kvs = partKvs(model, i, parts.length)
    const dataStart = align(headBytes(kvs, tensors), alignment)
    let end = dataStart
    for (const tensor of tensors) {
      const padding = align(tensor.size, alignment) - tensor.size
      placed.push({ tensor, file: i, position: end, padding })
      end += tensor.size + padding
    }
    const last = tensors.at(-1)
    const tailBytes = last ? align(last.size, alignment) - last.size : 0
    return {
      name: parts.length === 1 ? options.name : partName(options.name, i, parts.length),
      fileSize: end,
      sealBytes: COUNTS_BYTES,
      head: () => encodeHead(kvs, tensors, alignment),
      tail: () => new Uint8Array(tailBytes),
    }
  })
  const [first, ...rest] = files
  if (!first) throw new Error('a layout has a file')
  return { files: [first, ...rest], tensors: placed }
}

/**
 * As the reference converter cuts: a new part starts where the data of one, padding and header not counted, would be more
 * bytes than it may hold, or its tensors too many. One tensor at least is in each.
 */
function cut(tensors: readonly TensorInfo[], options: LayoutOptions): TensorInfo[][] {
  const { maxFileBytes = Infinity, maxFileTensors = Infinity, fileTensors } = options
  if (fileTensors) return cutAt(tensors, fileTensors)
  let part: TensorInfo[] = []
  const parts = [part]
  let bytes = 0
  for (const tensor of tensors) {
    if (part.length > 0 && (bytes + tensor.size > maxFileBytes || part.length >= maxFileTensors)) {
      parts.push((part = []))
      bytes = 0
    }
    part.push(tensor)
    bytes += tensor.size
  }
  return parts
}

/** Parts of so many tensors each; the last has those that are left. */
function cutAt(tensors: readonly TensorInfo[], fileTensors: readonly number[]): TensorInfo[][] {
  let start = 0
  return fileTensors.map((count, i) => {
    const end = i === fileTensors.length - 1 ? tensors.length : start + count
    const part = tensors.slice(start, end)
    start = end
    return part
  })
}

/** The pairs are in the first part; each part says which one it is, and what its own data are aligned to. */
function partKvs(model: GgufModel, index: number, count: number): readonly Kv[] {
  const kvs = withoutSplit(model.kvs)
  if (count === 1) return kvs
  const [no, total, all] = SPLIT_KEYS
  const own = [kv(no, 'u16', index), kv(total, 'u16', count), kv(all, 'i32', model.tensors.length)]
  return [...(index === 0 ? kvs : kvs.filter(({ key }) => key === ALIGNMENT_KEY)), ...own]
}

function headBytes(kvs: readonly Kv[], tensors: readonly TensorInfo[]): number {
  const ofKvs = kvs.reduce((sum, { key, data }) => sum + 8 + utf8Bytes(key) + 4 + data.length, 0)
  const ofTensors = tensors.reduce((sum, { name, shape }) => sum + 24 + utf8Bytes(name) + 8 * shape.length, 0)
  return COUNTS_BYTES + ofKvs + ofTensors
}

/** All that stands before the data, padding included. */
function encodeHead(kvs: readonly Kv[], tensors: readonly TensorInfo[], alignment: number): Uint8Array {
  const bytes = headBytes(kvs, tensors)
  const head = new Uint8Array(align(bytes, alignment))
  const view = new DataView(head.buffer)
  let at = 0
  const u32 = (value: number): void => {
    view.setUint32(at, value, true)
    at += 4
  }
  const u64 = (value: number): void => {
    view.setBigUint64(at, BigInt(value), true)
    at += 8
  }
  const encoder = new TextEncoder()
  const string = (text: string): void => {
    const { written } = encoder.encodeInto(text, head.subarray(at + 8))
    u64(written)
    at += written
  }
  u32(MAGIC)
  u32(VERSION)
  u64(tensors.length)
  u64(kvs.length)
  for (const { key, type, data } of kvs) {
    string(key)
    u32(KV_TYPES.indexOf(type))
    head.set(data, at)
    at += data.length
  }
  let offset = 0
  for (const { name, dtype, shape, size } of tensors) {
    string(name)
    u32(shape.length)
    for (const dimension of [...shape].reverse()) u64(dimension)
    u32(encodeDType(dtype, name))
    u64(offset)
    offset += align(size, alignment)
  }
  return head
}
