/** The header of a file: which tensors stand where. */
import type { ByteSource } from '../../model/byte-source.js'
import { DTYPES, type DType } from '../../model/dtypes.js'
import { AprError, located, printable, type AprErrorCode } from '../../model/errors.js'
import { found, isFields } from '../../model/found.js'
import { elementCount, tensorBytes, type TensorInfo } from '../../model/tensor.js'

/** Bytes of the header's length, with which a file starts. */
export const LENGTH_BYTES = 8
/** The reference's limit. */
export const MAX_HEADER_BYTES = 100_000_000

/**
 * The dtypes that the format holds, in the reference's order: of two tensors that of the later one stands first in a
 * file, so that all are aligned.
 */
// prettier-ignore
export const HELD_DTYPES: readonly DType[] = [
  'BOOL', 'F4', 'F6_E2M3', 'F6_E3M2', 'U8', 'I8', 'F8_E5M2', 'F8_E4M3', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ',
  'I16', 'U16', 'F16', 'BF16', 'I32', 'U32', 'F32', 'C64', 'F64', 'I64', 'U64',
]

/** No name of a tensor. */
export const METADATA_KEY = '__metadata__'

/** A number in a shape or in offsets that has a sign, a point or an exponent. In a string the quotes would be escaped. */
const ODD_NUMBER = /"(?:shape|data_offsets)"\s*:\s*\[[\d\s,]*(?:-|\d[.eE])[^\]]{0,20}/

/** A part of a character, which UTF-8 cannot hold: JSON's escapes can. */
const LONE_SURROGATE = /\p{Cs}/u

/** A tensor and where its data start in the file, in bytes. */
export interface StoredTensor {
  readonly tensor: TensorInfo
  readonly position: number
}

export interface FileHeader {
  readonly metadata: Readonly<Record<string, string>>
  /** In the order of their data. */
  readonly tensors: readonly StoredTensor[]
}

/** @throws AprError for every rule that a header can break */
export async function readHeader(source: ByteSource): Promise<FileHeader> {
  if (source.size < LENGTH_BYTES) {
    const what = `expected a safetensors file of at least ${LENGTH_BYTES} bytes, found ${source.size}`
    throw new AprError('APR_TRUNCATED', what)
  }
  const start = new Uint8Array(LENGTH_BYTES)
  await source.read(start, 0)
  const length = new DataView(start.buffer).getBigUint64(0, true)
  if (length > MAX_HEADER_BYTES) {
    const what = `expected a header of at most ${MAX_HEADER_BYTES} bytes, found one of ${length}`
    throw new AprError('APR_LIMIT', what, { offset: 0 })
  }
  const dataStart = LENGTH_BYTES + Number(length)
  if (dataStart > source.size) {
    const what = `expected a header of ${length} bytes, found a file of ${source.size}`
    throw new AprError('APR_TRUNCATED', what, { offset: 0 })
  }
  const bytes = new Uint8Array(Number(length))
  await source.read(bytes, LENGTH_BYTES)
  const header = located({ offset: LENGTH_BYTES }, () => parse(bytes))
  return placed(header, dataStart, source.size)
}

function parse(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  let text: string
  let value: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    value = JSON.parse(text)
  } catch (cause) {
    const what = `expected a header of JSON in UTF-8, found other text: ${printable((cause as Error).message)}`
    throw new AprError('APR_BAD_HEADER', what, {}, { cause })
  }
  if (!isFields(value))
    throw new AprError('APR_BAD_HEADER', `expected a header that is an object, found ${found(value)}`)
  // JavaScript has one kind of number, and takes 1.0, 1e0 and -0 for whole ones; nobody else does.
  const [odd] = ODD_NUMBER.exec(text) ?? []
  if (odd === undefined) return value
  const what = `expected whole numbers, of digits only, for shapes and data_offsets, found ${printable(odd.slice(-50))}`
  throw new AprError('APR_BAD_HEADER', what)
}

function placed(header: Readonly<Record<string, unknown>>, dataStart: number, fileSize: number): FileHeader {
  const metadata = metadataOf(header[METADATA_KEY])
  const entries = Object.entries(header)
    .filter(([name]) => name !== METADATA_KEY)
    .map(([name, entry]) => located({ tensor: name }, () => decodeEntry(name, entry)))
    .sort((a, b) => a.begin - b.begin || a.tensor.size - b.tensor.size)
  let end = 0
  for (const { tensor, begin } of entries) {
    if (begin !== end) {
      const kind = begin > end ? 'a hole before it' : 'it on the bytes of another tensor'
      const what = `expected its data at byte ${end}, right behind the tensor before, found ${kind}: they start at ${begin}`
      throw new AprError('APR_BAD_INDEX', what, { tensor: tensor.name })
    }
    end += tensor.size
  }
  const found = fileSize - dataStart
  if (found < end) {
    const what = `expected ${end} bytes of data behind the header, found ${found}`
    throw new AprError('APR_TRUNCATED', what, { offset: fileSize })
  }
  if (found > end) {
    const what = `expected the end of the file behind ${end} bytes of data, found ${found - end} bytes more`
    throw new AprError('APR_BAD_INDEX', what, { offset: dataStart + end })
  }
  return { metadata, tensors: entries.map(({ tensor, begin }) => ({ tensor, position: dataStart + begin })) }
}

function metadataOf(value: unknown): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {}
  if (!isFields(value)) throw wrong(METADATA_KEY, 'an object', value, 'APR_BAD_METADATA')
  for (const [key, text] of Object.entries(value)) {
    const isText = typeof text === 'string' && isUnicode(key) && isUnicode(text)
    if (isText) continue
    throw wrong(`${METADATA_KEY}.${printable(key)}`, 'a text of whole characters', text, 'APR_BAD_METADATA')
  }
  return Object.freeze(value) as Readonly<Record<string, string>>
}

function decodeEntry(name: string, entry: unknown): { tensor: TensorInfo; begin: number } {
  if (!isUnicode(name)) throw wrong('the name', 'a text of whole characters', name)
  if (!isFields(entry)) throw wrong('the entry', 'an object', entry)
  const { dtype, shape, data_offsets: offsets } = entry
  const isHeld = HELD_DTYPES.includes(dtype as DType)
  if (!isHeld) throw wrong('dtype', `one of ${HELD_DTYPES.join(', ')}`, dtype)
  if (!isSizes(shape)) throw wrong('shape', 'an array of whole numbers, 0 or more, below 2^53', shape)
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw wrong('data_offsets', 'two whole numbers, 0 or more, below 2^53', offsets)
  }
  const [begin = 0, end = 0] = offsets
  const size = checkedBytes(dtype as DType, shape)
  if (end - begin !== size) {
    const what = `expected ${size} bytes for ${dtype as DType} [${shape.join(', ')}], found data_offsets ${begin} to ${end}`
    throw new AprError('APR_BAD_INDEX', what)
  }
  const tensor = Object.freeze({ name, dtype: dtype as DType, shape: Object.freeze([...shape]), size })
  return { tensor, begin }
}

/**
 * Bytes of a tensor.
 * @throws AprError `APR_LIMIT` where they cannot be counted, `APR_BAD_INDEX` where they are no whole number
 */
export function checkedBytes(dtype: DType, shape: readonly number[]): number {
  const elements = elementCount(shape)
  const bytes = tensorBytes(dtype, shape)
  if (!Number.isSafeInteger(elements) || !Number.isSafeInteger(bytes)) {
    throw new AprError('APR_LIMIT', `expected less than 2^53 bytes, found ${dtype} [${shape.join(', ')}]`)
  }
  const { blockElements } = DTYPES[dtype]
  if (elements % blockElements === 0) return bytes
  const what = `expected whole bytes, a multiple of ${blockElements} elements of ${dtype}, found ${elements}`
  throw new AprError('APR_BAD_INDEX', what)
}

/** Whether a text can be written in UTF-8. */
export function isUnicode(text: string): boolean {
  return !LONE_SURROGATE.test(text)
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && Number(size) >= 0)
}

function wrong(what: string, expected: string, value: unknown, code: AprErrorCode = 'APR_BAD_INDEX'): AprError {
  const isList = Array.isArray(value) && value.length <= 16 && value.every((one) => typeof one !== 'object')
  const text = isList ? printable(JSON.stringify(value)) : found(value)
  return new AprError(code, `expected ${what} to be ${expected}, found ${text}`)
}
