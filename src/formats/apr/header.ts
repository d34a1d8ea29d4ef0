import { crc32 } from '../../checksum/crc32.js'
import { AprError } from '../../model/errors.js'
import { identify } from '../identify.js'

/** The header's flag bits. */
export const FLAGS = {
  lz4: 0x0001,
  zstd: 0x0002,
  encrypted: 0x0004,
  signed: 0x0008,
  sharded: 0x0010,
  quantized: 0x0020,
  filterbank: 0x0040,
  modelCard: 0x0080,
  streaming: 0x0100,
  vocabulary: 0x0200,
  rowMajor: 0x0400,
  columnMajor: 0x0800,
} as const

/** Bytes of the header, and what every section is aligned to. */
export const HEADER_BYTES = 64
export const ALIGNMENT = 64
/** Bytes of the CRC-32 at the end of a file. */
export const FOOTER_BYTES = 4

const MAGIC = 0x00525041 // "APR\0", little-endian
const MAJOR_VERSION = 2
const CHECKSUM_OFFSET = 40
const RESERVED_OFFSET = 44

export interface AprHeader {
  readonly minorVersion: number
  readonly flags: number
  readonly tensorCount: number
  /** Absolute offsets and sizes in bytes. */
  readonly metadataOffset: number
  readonly metadataSize: number
  readonly indexOffset: number
  readonly dataOffset: number
  /** The 20 bytes 44-63: ignored, and carried over. */
  readonly reserved: Uint8Array
}

/** Whether bytes are the start of a file of any version of the format. */
export function hasMagic(start: Uint8Array): boolean {
  return (
    start.length >= 4 && ((start[0] ?? 0) | ((start[1] ?? 0) << 8) | ((start[2] ?? 0) << 16)) === (MAGIC & 0xffffff)
  )
}

/** The next multiple of 64, from which the next section starts. */
export function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT
}

/** Names of the flags that are set, lowest bit first; a bit without a name is given as hexadecimal. */
export function flagNames(flags: number): string[] {
  const names: string[] = []
  for (let bit = 1; bit <= 0x8000; bit <<= 1) {
    if ((flags & bit) === 0) continue
    names.push(Object.entries(FLAGS).find(([, value]) => value === bit)?.[0] ?? `0x${bit.toString(16)}`)
  }
  return names
}

/**
 * @param bytes the first 64 bytes of a file, fewer where the file is shorter
 * @throws AprError `APR_BAD_MAGIC`, `APR_TRUNCATED`, `APR_BAD_HEADER`, `APR_BAD_CRC`, `APR_UNSUPPORTED`
 */
export function decodeHeader(bytes: Uint8Array): AprHeader {
  checkMagic(bytes)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const major = view.getUint8(4)
  if (major !== MAJOR_VERSION) {
    throw new AprError('APR_UNSUPPORTED', `expected format version ${MAJOR_VERSION}, found version ${major}`, {
      offset: 4,
    })
  }
  const stored = view.getUint32(CHECKSUM_OFFSET, true)
  const computed = headerChecksum(bytes)
  if (stored !== computed) {
    throw new AprError('APR_BAD_CRC', `expected header checksum ${hex(computed)}, found ${hex(stored)}`, {
      offset: CHECKSUM_OFFSET,
    })
  }
  const header: AprHeader = {
    minorVersion: view.getUint8(5),
    flags: view.getUint16(6, true),
    tensorCount: view.getUint32(8, true),
    metadataOffset: getSafeInteger(view, 12, 'metadata_offset'),
    metadataSize: view.getUint32(20, true),
    indexOffset: getSafeInteger(view, 24, 'tensor_index_offset'),
    dataOffset: getSafeInteger(view, 32, 'data_offset'),
    reserved: bytes.slice(RESERVED_OFFSET, HEADER_BYTES),
  }
  checkFlags(header.flags)
  if (header.dataOffset % ALIGNMENT !== 0) {
    throw new AprError('APR_BAD_HEADER', `expected data_offset to be a multiple of 64, found ${header.dataOffset}`, {
      offset: 32,
    })
  }
  return header
}

/** The 64 bytes of a header. */
export function encodeHeader(header: AprHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint8(4, MAJOR_VERSION)
  view.setUint8(5, header.minorVersion)
  view.setUint16(6, header.flags, true)
  view.setUint32(8, header.tensorCount, true)
  view.setBigUint64(12, BigInt(header.metadataOffset), true)
  view.setUint32(20, header.metadataSize, true)
  view.setBigUint64(24, BigInt(header.indexOffset), true)
  view.setBigUint64(32, BigInt(header.dataOffset), true)
  bytes.set(header.reserved, RESERVED_OFFSET)
  view.setUint32(CHECKSUM_OFFSET, headerChecksum(bytes), true)
  return bytes
}

/**
 * Reads a u64 that JavaScript can hold exactly.
 * @throws AprError `APR_LIMIT` above 2^53-1
 */
export function getSafeInteger(view: DataView, position: number, field: string): number {
  const value = view.getBigUint64(position, true)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new AprError('APR_LIMIT', `expected ${field} to be at most 2^53-1, found ${value}`)
  }
  return Number(value)
}

export function hex(checksum: number): string {
  return `0x${checksum.toString(16).padStart(8, '0')}`
}

/** CRC-32 of the header without its checksum field. */
function headerChecksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(RESERVED_OFFSET, HEADER_BYTES), crc32(bytes.subarray(0, CHECKSUM_OFFSET)))
}

function checkMagic(bytes: Uint8Array): void {
  if (bytes.length === 0)
    throw new AprError('APR_TRUNCATED', 'expected an APR file of at least 64 bytes, found an empty file')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 4 || view.getUint32(0, true) !== MAGIC) {
    const what = `expected an APR v2 file, which starts with the bytes 41 50 52 00, found ${identify(bytes)}`
    throw new AprError('APR_BAD_MAGIC', what, { offset: 0 })
  }
  if (bytes.length < HEADER_BYTES) {
    throw new AprError('APR_TRUNCATED', `expected a header of 64 bytes, found a file of ${bytes.length} bytes`)
  }
}

function checkFlags(flags: number): void {
  const refused = {
    encrypted: 'an encrypted file',
    lz4: 'a file compressed with LZ4',
    zstd: 'a file compressed with Zstd',
    columnMajor: 'a column-major file',
  } as const
  for (const [name, what] of Object.entries(refused)) {
    const bit = FLAGS[name as keyof typeof refused]
    if ((flags & bit) !== 0) {
      throw new AprError(
        'APR_UNSUPPORTED',
        `expected plain row-major tensors, found ${what} (flag ${name}, 0x${bit.toString(16)})`,
        {
          offset: 6,
        },
      )
    }
  }
}
