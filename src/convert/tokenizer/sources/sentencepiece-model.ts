/** Reads `tokenizer.model`, a message of Protocol Buffers: `ModelProto`, whose first field is its pieces. */
import { AprError } from '../../../model/errors.js'
import { TOKEN_TYPES } from '../token-types.js'

export interface Piece {
  readonly piece: string
  readonly score: number
  /** As in GGUF: the numbers are the same. */
  readonly type: number
}

/** Kinds of values: a varint, 8 bytes, bytes behind their length, 4 bytes. */
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

/** @throws AprError `APR_BAD_METADATA` for bytes that are no such message */
export function readPieces(bytes: Uint8Array): Piece[] {
  const pieces: Piece[] = []
  for (const { field, value } of fieldsOf(bytes)) {
    if (field === 1 && value instanceof Uint8Array) pieces.push(readPiece(value))
  }
  if (pieces.length > 0) return pieces
  throw broken('a vocabulary', 'one without pieces')
}

function readPiece(bytes: Uint8Array): Piece {
  let piece = ''
  let score = 0
  let type: number = TOKEN_TYPES.normal
  for (const { field, value } of fieldsOf(bytes)) {
    if (field === 1 && value instanceof Uint8Array) piece = text(value)
    if (field === 2 && value instanceof DataView) score = value.getFloat32(0, true)
    if (field === 3 && typeof value === 'number') type = value
  }
  return { piece, score, type }
}

function text(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw broken('pieces in UTF-8', 'other bytes')
  }
}

interface Field {
  readonly field: number
  /** A varint as a number, a fixed one as a view of its bytes. */
  readonly value: number | Uint8Array | DataView
}

function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++]
      if (byte === undefined) throw broken('a number', 'the end of the file')
      value += (byte & 127) * shift
      if (byte < 128) return value
      if (shift > 2 ** 56) throw broken('a number of at most 64 bits', 'a longer one')
    }
  }
  const take = (length: number): number => {
    if (length > bytes.length - at) throw broken(`${length} bytes`, 'the end of the file')
    at += length
    return at - length
  }
  while (at < bytes.length) {
    const tag = varint()
    const field = Math.floor(tag / 8)
    const wire = tag % 8
    if (wire === WIRE.varint) yield { field, value: varint() }
    else if (wire === WIRE.bytes) {
      const length = varint()
      const start = take(length)
      yield { field, value: bytes.subarray(start, start + length) }
    } else if (wire === WIRE.fixed32 || wire === WIRE.fixed64) {
      const length = wire === WIRE.fixed32 ? 4 : 8
      yield { field, value: new DataView(view.buffer, view.byteOffset + take(length), length) }
    } else throw broken('a field of Protocol Buffers', `one of kind ${wire}`)
  }
}

function broken(expected: string, found: string): AprError {
  const what = `expected tokenizer.model to be a SentencePiece model with ${expected}, found ${found}`
  return new AprError('APR_BAD_METADATA', what)
}
