/**
 * Where everything stands in a canonical file: header, metadata, tensor index, data, each padded to 64 bytes, then the
 * CRC-32. Known in whole before the first byte of data, because the model says every size.
 */
import { AprError } from '../../errors.js'
import type { AprModel, TensorInfo } from '../../tensor.js'
import { align, encodeHeader, FOOTER_BYTES, HEADER_BYTES } from './header.js'
import { checkTensor, compareNames, encodeEntry, entryBytes, MAX_TENSORS, type IndexEntry } from './tensor-index.js'

export interface Layout {
  /** Header, metadata and index with their padding: the bytes of the file before its data. */
  readonly head: Uint8Array
  /** The tensors in the order of the index; `dataOffset` is relative to the data section. */
  readonly entries: readonly IndexEntry[]
  /** Absolute offset of the data section, which is `head.length`. */
  readonly dataOffset: number
  /** Bytes of the whole file, footer included. */
  readonly fileSize: number
}

/** Models are shared by all who look at one, so each is laid out once. */
const layouts = new WeakMap<AprModel, Layout>()

/**
 * @throws AprError `APR_LIMIT`, `APR_BAD_RECORD` for tensors that the format cannot hold, `APR_BAD_INDEX` for two of
 * one name
 */
export function layoutModel(model: AprModel): Layout {
  let layout = layouts.get(model)
  if (layout === undefined) {
    layout = layOut(model)
    layouts.set(model, layout)
  }
  return layout
}

function layOut(model: AprModel): Layout {
  if (model.tensors.length > MAX_TENSORS) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_TENSORS} tensors, found ${model.tensors.length}`)
  }
  const { entries, dataBytes } = placeTensors(model.tensors)
  const metadata = new TextEncoder().encode(model.metadata)
  const indexOffset = align(HEADER_BYTES + metadata.length)
  const dataOffset = align(indexOffset + entries.reduce((sum, entry) => sum + entryBytes(entry), 0))
  const head = Buffer.alloc(dataOffset)
  head.set(
    encodeHeader({
      minorVersion: model.minorVersion,
      flags: model.flags,
      tensorCount: entries.length,
      metadataOffset: HEADER_BYTES,
      metadataSize: metadata.length,
      indexOffset,
      dataOffset,
      reserved: model.reserved,
    }),
  )
  head.set(metadata, HEADER_BYTES)
  let position = indexOffset
  for (const entry of entries) position = encodeEntry(entry, head, position)
  return { head, entries, dataOffset, fileSize: dataOffset + dataBytes + FOOTER_BYTES }
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
