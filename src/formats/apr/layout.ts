/**
 * Where everything stands in a canonical file: header, metadata, tensor index, data, each padded to 64 bytes, then the
 * CRC-32. Known in whole before the first byte of data, because the model says every size.
 */
import { AprError } from '../../model/errors.js'
import type { TensorInfo } from '../../model/tensor.js'
import { align, encodeHeader, FOOTER_BYTES, HEADER_BYTES } from './header.js'
import { MAX_METADATA_BYTES } from './metadata.js'
import { metadataBytes, type AprModel } from './model.js'
import { compareNames } from '../../model/names.js'
import { checkTensor, encodeEntry, entryBytes, MAX_TENSORS, type IndexEntry } from './tensor-index.js'

export interface AprLayout {
  /** The tensors in the order of the index; `dataOffset` is relative to the data section. */
  readonly entries: readonly IndexEntry[]
  /** Absolute offsets of the tensor index and of the data section. */
  readonly indexOffset: number
  readonly dataOffset: number
  /** Bytes of the whole file, footer included. */
  readonly fileSize: number
}

/** Models are shared by all who look at one, so each is laid out once. */
const layouts = new WeakMap<AprModel, AprLayout>()

/**
 * @throws AprError `APR_LIMIT`, `APR_BAD_RECORD` for tensors that the format cannot hold, `APR_BAD_INDEX` for two of
 * one name
 */
export function layoutModel(model: AprModel): AprLayout {
  let layout = layouts.get(model)
  if (layout === undefined) {
    layout = layoutTensors(model.tensors, metadataBytes(model))
    layouts.set(model, layout)
  }
  return layout
}

/** Header, metadata and index with their padding: the bytes of the file before its data. */
export function encodeHead(model: AprModel): Uint8Array {
  const { entries, indexOffset, dataOffset } = layoutModel(model)
  const head = new Uint8Array(dataOffset)
  const { written: metadataSize } = new TextEncoder().encodeInto(model.metadata, head.subarray(HEADER_BYTES))
  const { flags, minorVersion, reserved } = model
  const tensorCount = entries.length
  head.set(
    encodeHeader({
      minorVersion,
      flags,
      tensorCount,
      metadataOffset: HEADER_BYTES,
      metadataSize,
      indexOffset,
      dataOffset,
      reserved,
    }),
  )
  const view = new DataView(head.buffer)
  let position = indexOffset
  for (const entry of entries) position = encodeEntry(entry, view, position)
  return head
}

function layoutTensors(tensors: readonly TensorInfo[], sizeOfMetadata: number): AprLayout {
  if (tensors.length > MAX_TENSORS) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_TENSORS} tensors, found ${tensors.length}`)
  }
  if (sizeOfMetadata > MAX_METADATA_BYTES) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_METADATA_BYTES} bytes of metadata, found ${sizeOfMetadata}`)
  }
  const { entries, dataBytes } = placeTensors(tensors)
  const indexOffset = align(HEADER_BYTES + sizeOfMetadata)
  const dataOffset = align(indexOffset + entries.reduce((sum, entry) => sum + entryBytes(entry), 0))
  return { entries, indexOffset, dataOffset, fileSize: dataOffset + dataBytes + FOOTER_BYTES }
}

/** Places the tensors one after the other in the order of their names. */
function placeTensors(tensors: readonly TensorInfo[]): { entries: IndexEntry[]; dataBytes: number } {
  const entries: IndexEntry[] = []
  let dataBytes = 0
  let previous: string | undefined
  for (const tensor of tensors.toSorted((a, b) => compareNames(a.name, b.name))) {
    checkTensor(tensor)
    const { name, dtype, shape, size } = tensor
    if (name === previous)
      throw new AprError('APR_BAD_INDEX', 'expected every tensor name once, found one twice', { tensor: name })
    entries.push({ name, dtype, shape, size, dataOffset: dataBytes })
    dataBytes += align(size)
    previous = name
  }
  return { entries, dataBytes }
}
