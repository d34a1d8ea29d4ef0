/** Safetensors files for tests: a second, plain way to make and to read them, which shares no code with the package. */

/** A file of a header, as a text or as an object, and data. */
export function safetensorsFile(header: unknown, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const text = Buffer.isBuffer(header)
    ? header
    : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, data])
}

export interface FileTensor {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/** A file of tensors, their data in this order. */
export function tensorsFile(tensors: readonly FileTensor[], metadata?: Readonly<Record<string, string>>): Buffer {
  let end = 0
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const begin = end
    end += bytes.length
    return [name, { dtype, shape, data_offsets: [begin, end] }] as const
  })
  const header: Record<string, object> = Object.fromEntries<object>([
    ...(metadata ? [['__metadata__', metadata] as const] : []),
    ...entries,
  ])
  return safetensorsFile(header, Buffer.concat(tensors.map(({ bytes }) => bytes)))
}

/** In the reference's order. */
// prettier-ignore
const DTYPES = [
  'U64', 'I64', 'F64', 'C64', 'F32', 'U32', 'I32', 'BF16', 'F16', 'U16', 'I16', 'F8_E5M2FNUZ', 'F8_E4M3FNUZ', 'F8_E8M0',
  'F8_E4M3', 'F8_E5M2', 'I8', 'U8', 'F6_E3M2', 'F6_E2M3', 'F4', 'BOOL',
]

/** A good file as the reference's writer makes it. */
export function canonicalFile(file: Buffer): Buffer {
  const rank = ({ dtype }: FileTensor): number => DTYPES.indexOf(dtype)
  const byName = (a: FileTensor, b: FileTensor): number => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name))
  const tensors = [...parseTensors(file).values()].sort((a, b) => rank(a) - rank(b) || byName(a, b))
  const header = JSON.parse(file.toString('utf8', 8, 8 + Number(file.readBigUInt64LE()))) as Record<string, unknown>
  const metadata = (header['__metadata__'] ?? {}) as Record<string, string>
  let end = 0
  // By hand: an object would put names that are numbers first.
  const parts = tensors.map(({ name, dtype, shape, bytes }) => {
    const entry = { dtype, shape, data_offsets: [end, (end += bytes.length)] }
    return `${JSON.stringify(name)}:${JSON.stringify(entry)}`
  })
  if (Object.keys(metadata).length > 0) parts.unshift(`"__metadata__":${JSON.stringify(metadata)}`)
  const text = Buffer.from(`{${parts.join(',')}}`)
  const padded = Buffer.concat([text, Buffer.alloc(-text.length & 7, ' ')])
  return safetensorsFile(padded, Buffer.concat(tensors.map(({ bytes }) => bytes)))
}

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** What a file holds, by name; nothing is checked. */
export function parseTensors(file: Buffer): Map<string, FileTensor> {
  const dataStart = 8 + Number(file.readBigUInt64LE())
  const header = JSON.parse(file.toString('utf8', 8, dataStart)) as Record<string, Entry>
  const tensors = new Map<string, FileTensor>()
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const bytes = file.subarray(dataStart + offsets[0], dataStart + offsets[1])
    tensors.set(name, { name, dtype, shape, bytes })
  }
  return tensors
}
