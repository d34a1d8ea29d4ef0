/** Where everything stands in a file, or in shards with their index, as the reference's own writer has it. */
import { AprError, located, printable } from '../../model/errors.js'
import { checkNames, compareNames } from '../../model/names.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { FileLayout, Layout, LayoutOptions, PlacedTensor } from '../format.js'
import { checkedBytes, HELD_DTYPES, isUnicode, LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY } from './header.js'
import type { SafetensorsModel } from './model.js'
import { TEMPLATES_FOLDER } from './side-files.js'

/** Headers are padded with spaces to whole units of this, so that the data are aligned. */
const HEADER_UNIT_BYTES = 8

/** @throws AprError for tensors that the format cannot hold, `APR_BAD_INDEX` for two of one name */
export function layoutModel(model: SafetensorsModel, options: LayoutOptions): Layout {
  checkNames(model.tensors)
  model.tensors.forEach(checkTensor)
  const shards = cut(model.tensors, options.maxFileBytes)
  const placed: PlacedTensor[] = []
  const stem = options.name.replace(/\.safetensors$/, '')
  const digits = (value: number): string => String(value).padStart(5, '0')
  // Of several files the first is their index.
  const isIndexed = shards.length > 1
  const names = shards.map((_, i) => {
    return isIndexed ? `${stem}-${digits(i + 1)}-of-${digits(shards.length)}.safetensors` : options.name
  })
  const files = shards.map((tensors, i): FileLayout => {
    const header = encodeHeader(model.metadata, tensors)
    let end = header.length
    for (const tensor of tensors) {
      placed.push({ tensor, file: isIndexed ? i + 1 : i, position: end, padding: 0 })
      end += tensor.size
    }
    const fileSize = checkedSize(end)
    return { ...plainFile(names[i] ?? '', header), fileSize, sealBytes: LENGTH_BYTES }
  })
  const index = isIndexed ? [plainFile(`${stem}.safetensors.index.json`, encodeIndex(shards, names))] : []
  // Those of a folder in the folder are left out: an output's files stand in one.
  const copied = options.isFolder ? [...model.files].filter(([name]) => !name.startsWith(`${TEMPLATES_FOLDER}/`)) : []
  const beside = copied.map(([name, bytes]) => plainFile(checkedName(name), bytes))
  const [first, ...rest] = [...index, ...files, ...beside]
  if (!first) throw new Error('a layout has a file')
  return { files: [first, ...rest], tensors: placed }
}

function checkedSize(size: number): number {
  if (Number.isSafeInteger(size)) return size
  throw new AprError('APR_LIMIT', `expected a file of less than 2^53 bytes, found ${size}`)
}

/** What is written beside the tensors must not lead elsewhere, nor take the place of one of their files. */
function checkedName(name: string): string {
  const isElsewhere = name === '' || name === '.' || name === '..' || /[/\\\0]/.test(name)
  if (!isElsewhere && !/\.safetensors(\.index\.json)?$/.test(name)) return name
  throw new AprError('APR_BAD_RECORD', `expected the name of a file beside the tensors, found "${printable(name)}"`)
}

function plainFile(name: string, bytes: Uint8Array): FileLayout {
  return { name, fileSize: bytes.length, sealBytes: 0, head: () => bytes, tail: () => new Uint8Array(0) }
}

/**
 * Tensors in their order as long as they fit, as Hugging Face's tools cut; one that is too large has a shard of its own.
 * In each then by dtype, the widest first, and by name.
 */
function cut(tensors: readonly TensorInfo[], maxBytes = Infinity): TensorInfo[][] {
  const shards: TensorInfo[][] = []
  let current: TensorInfo[] = []
  let bytes = 0
  for (const tensor of tensors) {
    if (tensor.size > maxBytes) {
      shards.push([tensor])
      continue
    }
    if (bytes + tensor.size > maxBytes) {
      shards.push(current)
      current = []
      bytes = 0
    }
    current.push(tensor)
    bytes += tensor.size
  }
  if (current.length > 0 || shards.length === 0) shards.push(current)
  const rank = ({ dtype }: TensorInfo): number => HELD_DTYPES.indexOf(dtype)
  return shards.map((shard) => shard.sort((a, b) => rank(b) - rank(a) || compareNames(a.name, b.name)))
}

/** @throws AprError `APR_LIMIT` for a header that nobody would read */
function encodeHeader(metadata: Readonly<Record<string, string>>, tensors: readonly TensorInfo[]): Uint8Array {
  const parts = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : []
  let end = 0
  for (const { name, dtype, shape, size } of tensors) {
    const offsets = `[${end},${end + size}]`
    parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":${offsets}}`)
    end += size
  }
  const text = new TextEncoder().encode(`{${parts.join(',')}}`)
  const length = Math.ceil(text.length / HEADER_UNIT_BYTES) * HEADER_UNIT_BYTES
  if (length > MAX_HEADER_BYTES) {
    const what = `expected a header of at most ${MAX_HEADER_BYTES} bytes, found ${length} for ${tensors.length} tensors`
    throw new AprError('APR_LIMIT', what)
  }
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true)
  bytes.set(text, LENGTH_BYTES)
  return bytes
}

/** As Hugging Face's tools write it: keys sorted, two spaces, ASCII only. */
function encodeIndex(shards: readonly TensorInfo[][], names: readonly string[]): Uint8Array {
  const total = shards.flat().reduce((sum, { size }) => sum + size, 0)
  const entries = shards.flatMap((tensors, i) => tensors.map(({ name }) => [name, names[i] ?? ''] as const))
  const map = entries
    .sort(([a], [b]) => compareNames(a, b))
    .map(([name, file]) => `    ${asciiJson(name)}: ${asciiJson(file)}`)
  const text = `{\n  "metadata": {\n    "total_size": ${total}\n  },\n  "weight_map": {\n${map.join(',\n')}\n  }\n}\n`
  return new TextEncoder().encode(text)
}

function asciiJson(text: string): string {
  const escape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, escape)
}

/** @throws AprError for a tensor that the format cannot hold */
export function checkTensor({ name, dtype, shape, size }: TensorInfo): void {
  const place = { tensor: name }
  if (!HELD_DTYPES.includes(dtype)) {
    throw new AprError('APR_UNSUPPORTED', `expected a dtype that safetensors holds, found ${dtype}`, place)
  }
  if (name === METADATA_KEY || !isUnicode(name)) {
    throw new AprError('APR_UNSUPPORTED', `expected a name in Unicode that is not ${METADATA_KEY}`, place)
  }
  const bytes = located(place, () => checkedBytes(dtype, shape))
  if (size === bytes) return
  const what = `expected ${bytes} bytes of ${dtype} [${shape.join(', ')}], found ${size}`
  throw new AprError('APR_BAD_RECORD', what, place)
}
