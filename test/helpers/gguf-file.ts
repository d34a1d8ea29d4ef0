/** Builds GGUF files by hand, good ones and ones with any field wrong: a second implementation, of the plain kind. */
import type { Kv } from 'apr-stream'

/** Ids of dtypes, with elements and bytes of a block: as ggml has them. */
export const GGUF_DTYPES: Readonly<Record<string, readonly [id: number, elements: number, bytes: number]>> = {
  F32: [0, 1, 4],
  F16: [1, 1, 2],
  Q4_0: [2, 32, 18],
  Q4_1: [3, 32, 20],
  Q5_0: [6, 32, 22],
  Q5_1: [7, 32, 24],
  Q8_0: [8, 32, 34],
  Q8_1: [9, 32, 36],
  Q2_K: [10, 256, 84],
  Q3_K: [11, 256, 110],
  Q4_K: [12, 256, 144],
  Q5_K: [13, 256, 176],
  Q6_K: [14, 256, 210],
  Q8_K: [15, 256, 292],
  IQ2_XXS: [16, 256, 66],
  IQ2_XS: [17, 256, 74],
  IQ3_XXS: [18, 256, 98],
  IQ1_S: [19, 256, 50],
  IQ4_NL: [20, 32, 18],
  IQ3_S: [21, 256, 110],
  IQ2_S: [22, 256, 82],
  IQ4_XS: [23, 256, 136],
  I8: [24, 1, 1],
  I16: [25, 1, 2],
  I32: [26, 1, 4],
  I64: [27, 1, 8],
  F64: [28, 1, 8],
  IQ1_M: [29, 256, 56],
  BF16: [30, 1, 2],
  TQ1_0: [34, 256, 54],
  TQ2_0: [35, 256, 66],
  MXFP4: [39, 32, 17],
  NVFP4: [40, 64, 36],
  Q1_0: [41, 128, 18],
  Q2_0: [42, 64, 18],
}

const KV_TYPES = ['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'f32', 'bool', 'string', 'array', 'u64', 'i64', 'f64']

export interface GgufTensorFields {
  readonly name?: string | Buffer
  /** Fastest first, as in the file. */
  readonly dims?: readonly (number | bigint)[]
  /** A name, or an id that may be none. */
  readonly dtype?: string | number
  readonly data?: Buffer
  readonly offset?: number | bigint
  /** Behind the data; by default zeros up to the alignment. */
  readonly padding?: Buffer
}

export interface GgufFields {
  readonly magic?: string
  readonly version?: number
  readonly kvs?: readonly (Kv | Buffer)[]
  readonly tensors?: readonly GgufTensorFields[]
  readonly tensorCount?: number | bigint
  readonly kvCount?: number | bigint
  readonly alignment?: number
  /** Between the index and the data. */
  readonly headPadding?: Buffer
  readonly tail?: Buffer
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)))
  return bytes
}

export function ggufString(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text as string)
  return Buffer.concat([u64(bytes.length), bytes])
}

/** A pair of any key, type and bytes. */
export function rawKv(key: string | Buffer, type: number, data: Uint8Array): Buffer {
  return Buffer.concat([ggufString(key), u32(type), data])
}

/** Bytes of a tensor's data, as ggml computes them. */
export function ggufBytes(dtype: string, dims: readonly (number | bigint)[]): number {
  const [, elements, bytes] = GGUF_DTYPES[dtype] ?? [0, 1, 0]
  return (dims.reduce<number>((product, n) => product * Number(n), 1) / elements) * bytes
}

/** A file without tensors is the head alone, padded. */
export function buildGguf(fields: GgufFields): Buffer {
  const { kvs = [], tensors = [], alignment = 32 } = fields
  const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment
  const index: Buffer[] = []
  const parts: Buffer[] = []
  let offset = 0
  for (const [i, tensor] of tensors.entries()) {
    const { name = `t${i}`, dims = [8], dtype = 'F32' } = tensor
    const id = typeof dtype === 'number' ? dtype : (GGUF_DTYPES[dtype]?.[0] ?? -1)
    const data = tensor.data ?? Buffer.alloc(typeof dtype === 'string' ? ggufBytes(dtype, dims) : 32, 1)
    index.push(ggufString(name), u32(dims.length), ...dims.map(u64), u32(id), u64(tensor.offset ?? offset))
    parts.push(data, tensor.padding ?? Buffer.alloc(padded(data.length) - data.length))
    offset += padded(data.length)
  }
  const head = Buffer.concat([
    Buffer.from(fields.magic ?? 'GGUF', 'latin1'),
    u32(fields.version ?? 3),
    u64(fields.tensorCount ?? tensors.length),
    u64(fields.kvCount ?? kvs.length),
    ...kvs.map((pair) => (Buffer.isBuffer(pair) ? pair : kvBytes(pair))),
    ...index,
  ])
  const padding = fields.headPadding ?? Buffer.alloc(padded(head.length) - head.length)
  return Buffer.concat([head, padding, ...parts, fields.tail ?? Buffer.alloc(0)])
}

function kvBytes({ key, type, data }: Kv): Buffer {
  return rawKv(key, KV_TYPES.indexOf(type), data)
}
