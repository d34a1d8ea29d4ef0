/**
 * Builds APR v2 files byte by byte, without the library, so that it can build wrong ones: every field can be given, and
 * what is not given is what a good file has there.
 */
import { crc32 } from 'node:zlib'
import type { DType } from 'apr-stream'

/** Ids of the dtypes, as writers use them. */
export const DTYPE_IDS = {
  F32: 0,
  F16: 1,
  F64: 3,
  I32: 4,
  I64: 5,
  I8: 6,
  U8: 7,
  Q4_K: 12,
  Q6_K: 14,
  BF16: 30,
  APR_Q4: 128,
  APR_Q8: 129,
} as const satisfies Partial<Record<DType, number>>

function dtypeId(dtype: DType): number {
  const ids: Partial<Record<DType, number>> = DTYPE_IDS
  const id = ids[dtype]
  if (id === undefined) throw new Error(`${dtype} has no id in the format`)
  return id
}

export interface TensorFields {
  name: string | Uint8Array
  /** Default F32. */
  dtype?: DType | number
  /** Default: as many elements as `data` holds bytes of F32. */
  shape?: readonly (number | bigint)[]
  /** Default: one F32, 1. */
  data?: Uint8Array
  /** From the start of the data section. Default: behind the tensor before, at a multiple of 64. */
  offset?: number | bigint
  /** Default: that of `data`. */
  size?: number | bigint
  /** What the index says, whatever the name's bytes and the shape are. */
  nameBytes?: number
  dimensions?: number
}

export interface FileFields {
  magic?: string
  major?: number
  minor?: number
  flags?: number
  tensorCount?: number
  metadata?: string | Uint8Array
  metadataOffset?: number | bigint
  metadataSize?: number
  indexOffset?: number | bigint
  dataOffset?: number | bigint
  headerChecksum?: number
  reserved?: Uint8Array
  tensors?: readonly TensorFields[]
  /** Put at these absolute offsets before the checksum is computed: into padding, for one. */
  patches?: Readonly<Record<number, readonly number[]>>
  /** Whether there is a checksum at the end, or which. Default: the right one. */
  footer?: boolean | number
  /** Bytes between the data and the checksum. */
  tail?: Uint8Array
}

const F32_ONE = Uint8Array.of(0, 0, 0x80, 0x3f)

export function buildApr(fields: FileFields = {}): Buffer {
  const { tensors = [{ name: 'a' }], footer = true } = fields
  const metadata = Buffer.from(fields.metadata ?? '{"model_type":"test"}')
  const { entries, data } = placeTensors(tensors)
  const indexOffset = align(64 + metadata.length)
  const dataOffset = align(indexOffset + entries.length)
  const file = Buffer.alloc(dataOffset + data.length)
  file.write(fields.magic ?? 'APR\0', 0, 'latin1')
  file.writeUInt8(fields.major ?? 2, 4)
  file.writeUInt8(fields.minor ?? 0, 5)
  file.writeUInt16LE(fields.flags ?? 0x0400, 6)
  file.writeUInt32LE(fields.tensorCount ?? tensors.length, 8)
  file.writeBigUInt64LE(BigInt(fields.metadataOffset ?? 64), 12)
  file.writeUInt32LE(fields.metadataSize ?? metadata.length, 20)
  file.writeBigUInt64LE(BigInt(fields.indexOffset ?? indexOffset), 24)
  file.writeBigUInt64LE(BigInt(fields.dataOffset ?? dataOffset), 32)
  file.set(fields.reserved ?? [], 44)
  file.writeUInt32LE(fields.headerChecksum ?? headerChecksum(file), 40)
  file.set(metadata, 64)
  file.set(entries, indexOffset)
  file.set(data, dataOffset)
  for (const [offset, bytes] of Object.entries(fields.patches ?? {})) file.set(bytes, Number(offset))
  const body = Buffer.concat([file, fields.tail ?? Buffer.alloc(0)])
  if (footer === false) return body
  return Buffer.concat([body, u32(footer === true ? crc32(body) : footer)])
}

/** CRC-32 of the header's bytes 0-39 and 44-63. */
export function headerChecksum(file: Uint8Array): number {
  return crc32(Buffer.concat([file.subarray(0, 40), file.subarray(44, 64)]))
}

/** The file with a right checksum in its header and, where it had one at the end, there too. */
export function repairChecksums(file: Buffer, hasFooter: boolean): Buffer {
  const repaired = Buffer.from(file)
  if (repaired.length >= 64) repaired.writeUInt32LE(headerChecksum(repaired), 40)
  if (hasFooter && repaired.length >= 68) {
    repaired.writeUInt32LE(crc32(repaired.subarray(0, -4)), repaired.length - 4)
  }
  return repaired
}

export function align(offset: number): number {
  return Math.ceil(offset / 64) * 64
}

/** Bytes of numbers in a plain dtype. */
export function f32Bytes(values: readonly number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer)
}

function placeTensors(tensors: readonly TensorFields[]): { entries: Buffer; data: Buffer } {
  const entries: Buffer[] = []
  const parts: Buffer[] = []
  let end = 0
  for (const tensor of tensors) {
    const { data = F32_ONE, dtype = 'F32' } = tensor
    const name = Buffer.from(tensor.name)
    const shape = tensor.shape ?? [data.length / 4]
    const head = Buffer.alloc(2)
    head.writeUInt16LE(tensor.nameBytes ?? name.length)
    const kind = Buffer.of(typeof dtype === 'number' ? dtype : dtypeId(dtype), tensor.dimensions ?? shape.length)
    const numbers = [...shape, tensor.offset ?? end, tensor.size ?? data.length]
    entries.push(head, name, kind, ...numbers.map(u64))
    parts.push(Buffer.from(data), Buffer.alloc(align(data.length) - data.length))
    end += align(data.length)
  }
  return { entries: Buffer.concat(entries), data: Buffer.concat(parts) }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
