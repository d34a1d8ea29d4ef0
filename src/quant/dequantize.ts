/** Tensors as numbers, for programs that look into a model. */
import { DTYPES, isDType, type DType } from '../model/dtypes.js'
import { AprError, printable } from '../model/errors.js'
import { aprQ8Scale, decodeElements, isDecodable } from './decode.js'

/**
 * Decodes a tensor's bytes, or those of whole blocks of it, to f32. Floats of 16 bits and integers of 8 are exact;
 * F64, I32 and I64 are rounded to the nearest f32. Blocks decode as llama.cpp and aprender do, every step rounded to f32.
 *
 * @param bytes whole blocks of the dtype, little-endian; of APR_Q8 the whole tensor, its scale first
 * @param cols columns of a matrix: K-quants pad each of its rows to 256 elements, and these are left out. Without it
 *   every element of every block is decoded
 * @returns one value an element
 * @throws AprError `APR_BAD_OPTION` for a dtype that there is not, bytes that are no whole blocks or no whole rows
 */
export function dequantize(dtype: DType, bytes: Uint8Array, cols?: number): Float32Array {
  const found = { dtype: dtype as unknown, bytes: bytes as unknown }
  if (!isDType(found.dtype) || !isDecodable(found.dtype)) {
    const known = (Object.keys(DTYPES) as DType[]).filter(isDecodable).join(', ')
    throw bad(`a dtype among ${known}`, printable(String(found.dtype)))
  }
  if (!(found.bytes instanceof Uint8Array)) throw bad('bytes in a Uint8Array', typeof bytes)
  const { blockElements, blockBytes, headBytes, padsRows } = DTYPES[dtype]
  const blocks = (bytes.length - headBytes) / blockBytes
  if (!Number.isInteger(blocks) || blocks < 0) {
    throw bad(
      `${headBytes > 0 ? `${headBytes} bytes and ` : ''}a multiple of ${blockBytes} bytes for ${dtype}`,
      `${bytes.length} bytes`,
    )
  }
  const scale = dtype === 'APR_Q8' ? aprQ8Scale(bytes) : undefined
  const data = bytes.subarray(headBytes)
  const elements = blocks * blockElements
  if (cols === undefined || !padsRows) {
    const target = new Float32Array(elements)
    decodeElements({ dtype, data, first: 0, count: elements, scale }, target, 0)
    return target
  }
  if (!Number.isSafeInteger(cols) || cols < 1) throw bad('a whole number of columns above 0', String(cols))
  const rowElements = Math.ceil(cols / blockElements) * blockElements
  const rows = elements / rowElements
  if (!Number.isInteger(rows)) {
    throw bad(`whole rows of ${(rowElements / blockElements) * blockBytes} bytes`, `${bytes.length} bytes`)
  }
  const target = new Float32Array(rows * cols)
  for (let row = 0; row < rows; row++) {
    decodeElements({ dtype, data, first: row * rowElements, count: cols }, target, row * cols)
  }
  return target
}

/**
 * Decodes Q4_K: `(d * scale) * q - (dmin * min)`, every step rounded to f32.
 * @param bytes whole super-blocks of 144 bytes
 * @param target takes 256 values a super-block
 */
export function dequantizeQ4K(
  bytes: Uint8Array,
  target = new Float32Array(Math.floor(bytes.length / DTYPES.Q4_K.blockBytes) * DTYPES.Q4_K.blockElements),
): Float32Array {
  const count = Math.floor(bytes.length / DTYPES.Q4_K.blockBytes) * DTYPES.Q4_K.blockElements
  decodeElements({ dtype: 'Q4_K', data: bytes, first: 0, count }, target, 0)
  return target
}

function bad(expected: string, found: string): AprError {
  return new AprError('APR_BAD_OPTION', `expected ${expected}, found ${found}`)
}
