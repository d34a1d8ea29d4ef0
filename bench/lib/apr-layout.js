/**
 * The front of an APR v2 file: header, metadata and tensor index. Written here on its own, so that the benchmark's inputs
 * do not depend on the code that is measured.
 */
import { crc32 } from 'node:zlib'

const HEADER_BYTES = 64
const ALIGNMENT_BYTES = 64
const FLAG_ROW_MAJOR = 0x0400

/** @typedef {'F32' | 'F16'} Dtype */

export const DTYPES = {
  F32: { id: 0, elementBytes: 4 },
  F16: { id: 1, elementBytes: 2 },
}

/**
 * @typedef {object} Tensor
 * @property {string} name ASCII.
 * @property {Dtype} dtype
 * @property {number[]} shape Outermost first.
 *
 * @typedef {object} Placement
 * @property {number} offset Bytes from the data section's start.
 * @property {number} size Bytes, without padding.
 *
 * @typedef {object} Front
 * @property {Buffer} bytes Everything before the data section.
 * @property {Array<Tensor & Placement>} tensors In index order: sorted by name, offsets rising.
 * @property {number} dataBytes Length of the data section, the last tensor's padding included.
 */

/**
 * Lays out a file.
 *
 * @param {Tensor[]} tensors In any order; names are ASCII, so that JavaScript's order is UTF-8's.
 * @param {string} metadata JSON text.
 * @returns {Front}
 */
export function layOut(tensors, metadata) {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1))
  let dataBytes = 0
  const placed = sorted.map((tensor) => {
    const size = elementCount(tensor.shape) * DTYPES[tensor.dtype].elementBytes
    const offset = dataBytes
    dataBytes += align(size)
    return { ...tensor, offset, size }
  })

  const metadataBytes = Buffer.from(metadata)
  const index = padded(Buffer.concat(placed.map(indexEntry)))
  const paddedMetadata = padded(metadataBytes)
  const indexOffset = HEADER_BYTES + paddedMetadata.length
  const dataOffset = indexOffset + index.length
  const header = headerBytes(placed.length, metadataBytes.length, indexOffset, dataOffset)
  return { bytes: Buffer.concat([header, paddedMetadata, index]), tensors: placed, dataBytes }
}

/** @param {number[]} shape */
export function elementCount(shape) {
  return shape.reduce((product, dimension) => product * dimension, 1)
}

/** @param {number} bytes */
export function align(bytes) {
  return Math.ceil(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
}

/**
 * @param {number} tensorCount
 * @param {number} metadataSize
 * @param {number} indexOffset
 * @param {number} dataOffset
 */
function headerBytes(tensorCount, metadataSize, indexOffset, dataOffset) {
  const header = Buffer.alloc(HEADER_BYTES)
  header.write('APR\0', 0, 'latin1')
  header[4] = 2 // version major; minor at 5 is 0
  header.writeUInt16LE(FLAG_ROW_MAJOR, 6)
  header.writeUInt32LE(tensorCount, 8)
  header.writeBigUInt64LE(BigInt(HEADER_BYTES), 12) // metadata offset
  header.writeUInt32LE(metadataSize, 20)
  header.writeBigUInt64LE(BigInt(indexOffset), 24)
  header.writeBigUInt64LE(BigInt(dataOffset), 32)
  // Over bytes 0-39 and 44-63, everything but the checksum itself.
  header.writeUInt32LE(crc32(header.subarray(44), crc32(header.subarray(0, 40))), 40)
  return header
}

/** @param {Tensor & Placement} tensor */
function indexEntry({ name, dtype, shape, offset, size }) {
  const nameBytes = Buffer.from(name, 'latin1')
  const entry = Buffer.alloc(2 + nameBytes.length + 2 + 8 * shape.length + 16)
  let at = entry.writeUInt16LE(nameBytes.length, 0)
  at += nameBytes.copy(entry, at)
  at = entry.writeUInt8(DTYPES[dtype].id, at)
  at = entry.writeUInt8(shape.length, at)
  for (const value of [...shape, offset, size]) at = entry.writeBigUInt64LE(BigInt(value), at)
  return entry
}

/** @param {Buffer} bytes */
function padded(bytes) {
  return Buffer.concat([bytes, Buffer.alloc(align(bytes.length) - bytes.length)])
}
