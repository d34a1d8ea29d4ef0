import { AprError, located, printable } from '../../model/errors.js'
import { tensorBytes, type TensorInfo } from '../../model/tensor.js'
import { isWellFormed, utf8Bytes } from '../../model/utf8.js'
import { isPossibleSize } from './model.js'
import { decodeDType, encodeDType } from './dtypes.js'
import { ALIGNMENT, getSafeInteger } from './header.js'

/** A tensor and where its data stands. */
export interface IndexEntry extends TensorInfo {
  /** Bytes from the start of the data section. */
  readonly dataOffset: number
}

/** Limits of the format. */
const MAX_NAME_BYTES = 256
const MAX_DIMENSIONS = 8
/**
 * Tensors that a reader accepts. The largest published mixtures of experts have below 200,000; an entry costs some
 * 300 bytes of memory, so this bounds what a hostile file can ask for.
 */
export const MAX_TENSORS = 1_000_000
/** Bytes of the smallest entry: no name, no dimensions. */
export const MIN_ENTRY_BYTES = 2 + 1 + 1 + 8 + 8
/** Bytes of the largest entry. */
export const MAX_ENTRY_BYTES = MIN_ENTRY_BYTES + MAX_NAME_BYTES + MAX_DIMENSIONS * 8

/**
 * Decodes the entry at `start`.
 * @param bytes may end inside the entry
 * @returns the entry and where it ends, or undefined when `bytes` ends before the entry does
 * @throws AprError `APR_BAD_INDEX`, `APR_LIMIT`, `APR_UNSUPPORTED`
 */
export function decodeEntry(bytes: DataView, start: number): { entry: IndexEntry; end: number } | undefined {
  if (bytes.byteLength < start + 2) return undefined
  const nameBytes = bytes.getUint16(start, true)
  if (nameBytes > MAX_NAME_BYTES) {
    throw new AprError('APR_LIMIT', `expected a tensor name of at most ${MAX_NAME_BYTES} bytes, found ${nameBytes}`)
  }
  let position = start + 2 + nameBytes
  if (bytes.byteLength < position + 2) return undefined
  const name = decodeName(new Uint8Array(bytes.buffer, bytes.byteOffset + start + 2, nameBytes))
  const dtypeId = bytes.getUint8(position)
  const dimensions = bytes.getUint8(position + 1)
  position += 2
  return located({ tensor: name }, () => {
    if (dimensions > MAX_DIMENSIONS) {
      throw new AprError('APR_LIMIT', `expected at most ${MAX_DIMENSIONS} dimensions, found ${dimensions}`)
    }
    const end = position + dimensions * 8 + 16
    if (bytes.byteLength < end) return undefined
    const shape: number[] = []
    for (; shape.length < dimensions; position += 8) shape.push(getSafeInteger(bytes, position, 'a dimension'))
    const entry: IndexEntry = {
      name,
      dtype: decodeDType(dtypeId),
      shape: Object.freeze(shape),
      dataOffset: getSafeInteger(bytes, position, 'a tensor offset'),
      size: getSafeInteger(bytes, position + 8, 'a tensor size'),
    }
    checkEntry(entry)
    return { entry, end }
  })
}

/** Bytes that an entry takes. */
export function entryBytes({ name, shape }: TensorInfo): number {
  return MIN_ENTRY_BYTES + utf8Bytes(name) + shape.length * 8
}

/**
 * Writes one entry at `start` of `target`.
 * @returns where it ends
 */
export function encodeEntry(
  { name, dtype, shape, dataOffset, size }: IndexEntry,
  target: DataView,
  start: number,
): number {
  const place = new Uint8Array(target.buffer, target.byteOffset + start + 2, target.byteLength - start - 2)
  const { written: nameBytes } = encoder.encodeInto(name, place)
  target.setUint16(start, nameBytes, true)
  let position = start + 2 + nameBytes
  target.setUint8(position, encodeDType(dtype))
  target.setUint8(position + 1, shape.length)
  position += 2
  for (const dimension of shape) position = writeUint64(dimension, target, position)
  position = writeUint64(dataOffset, target, position)
  return writeUint64(size, target, position)
}

/** In two halves: a BigInt for each number takes several times as long. */
function writeUint64(value: number, target: DataView, position: number): number {
  target.setUint32(position, value % 2 ** 32, true)
  target.setUint32(position + 4, Math.floor(value / 2 ** 32), true)
  return position + 8
}

/**
 * Checks a tensor that is to be written.
 * @throws AprError `APR_LIMIT`, `APR_BAD_RECORD`
 */
export function checkTensor(tensor: TensorInfo): void {
  const { name, dtype, shape, size } = tensor
  const place = { tensor: name }
  if (!isWellFormed(name)) {
    throw new AprError('APR_BAD_RECORD', 'expected a tensor name of whole characters, found a lone surrogate', place)
  }
  const nameBytes = utf8Bytes(name)
  if (nameBytes > MAX_NAME_BYTES) {
    throw new AprError(
      'APR_LIMIT',
      `expected a tensor name of at most ${MAX_NAME_BYTES} bytes, found ${nameBytes}`,
      place,
    )
  }
  if (shape.length > MAX_DIMENSIONS) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_DIMENSIONS} dimensions, found ${shape.length}`, place)
  }
  if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) {
    throw new AprError('APR_BAD_RECORD', `expected whole dimensions, found [${shape.join(', ')}]`, place)
  }
  if (!isPossibleSize(tensor)) {
    throw new AprError('APR_BAD_RECORD', sizeMessage(dtype, shape, size), place)
  }
  encodeDType(dtype, name)
}

function checkEntry(entry: IndexEntry): void {
  const { name, dtype, shape, size, dataOffset } = entry
  const place = { tensor: name }
  if (!Number.isSafeInteger(tensorBytes(dtype, shape))) {
    throw new AprError(
      'APR_LIMIT',
      `expected a tensor of at most 2^53-1 bytes, found the shape [${shape.join(', ')}]`,
      place,
    )
  }
  if (!isPossibleSize(entry)) throw new AprError('APR_BAD_INDEX', sizeMessage(dtype, shape, size), place)
  if (dataOffset % ALIGNMENT !== 0) {
    throw new AprError('APR_BAD_INDEX', `expected a tensor offset that is a multiple of 64, found ${dataOffset}`, place)
  }
}

function sizeMessage(dtype: string, shape: readonly number[], size: number): string {
  return `expected ${tensorBytes(dtype as TensorInfo['dtype'], shape)} bytes for ${dtype} [${shape.join(', ')}], found ${size}`
}

const encoder = new TextEncoder()
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeName(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    const shown = printable(new TextDecoder().decode(bytes))
    throw new AprError(
      'APR_BAD_INDEX',
      `expected a tensor name in UTF-8, found bytes that are not: "${shown}"`,
      {},
      { cause: error },
    )
  }
}
