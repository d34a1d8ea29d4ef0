/**
 * Writes the benchmark's input models: `.apr` files of gaussian weights of any size, in constant memory.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { DTYPES, align, layOut } from './apr-layout.js'
import { gaussianWeights, toHalfPrecision } from './gaussian.js'

/** @typedef {import('./apr-layout.js').Dtype} Dtype */

/** Weights are drawn once for a block of this size; a file repeats the block, each time from another place on. */
const BLOCK_BYTES = 16 * 2 ** 20

/**
 * Each pass over the block starts this many elements further on. Odd, so that super-blocks of 256 fall elsewhere in each
 * of 256 passes (triangular numbers are a permutation modulo a power of 2): the first 3.7 GB have no super-block twice.
 */
const PASS_SHIFT_ELEMENTS = 4099

const STAGING_BYTES = 4 * 2 ** 20

/**
 * @typedef {object} ModelOptions
 * @property {number} bytes Bytes of tensor data wanted; rounded to whole rows of every tensor, one row at the least.
 * @property {number} tensors How many matrices of the same shape.
 * @property {Dtype} [dtype] Default 'F16'.
 * @property {number} [rowElements] Width of every matrix. Default 4096.
 * @property {number} [seed] Default 1.
 *
 * @typedef {object} WrittenModel
 * @property {number} fileBytes
 * @property {number} weights Elements of all tensors.
 * @property {number} rows Rows of each tensor.
 * @property {number} tensors
 */

/**
 * Writes a valid APR v2 file with its footer checksum. Every tensor is one that quantizes to Q4_K.
 *
 * @param {string} path
 * @param {ModelOptions} options
 * @returns {WrittenModel}
 *
 * @example
 * writeModel('big.apr', { bytes: 1e9, tensors: 64 });
 * writeModel('tiny.apr', { bytes: 50_000 * 512, tensors: 50_000, rowElements: 16 }); // 16 x 16 each
 * writeModel('one.apr', { bytes: 2e9, tensors: 1 });
 */
export function writeModel(path, { bytes, tensors, dtype = 'F16', rowElements = 4096, seed = 1 }) {
  const { elementBytes } = DTYPES[dtype]
  const rows = Math.max(1, Math.round(bytes / tensors / rowElements / elementBytes))
  const weights = tensors * rows * rowElements
  const metadata = {
    model_type: 'benchmark',
    name: `${tensors} x ${rows} x ${rowElements} ${dtype}`,
    param_count: weights,
  }
  const front = layOut(
    Array.from({ length: tensors }, (_, index) => ({
      name: `layers.${String(index).padStart(6, '0')}.weight`,
      dtype,
      shape: [rows, rowElements],
    })),
    JSON.stringify(metadata),
  )

  const output = new ChecksummedFile(path)
  try {
    output.write(front.bytes)
    const source = weightSource(dtype, seed)
    for (const { size } of front.tensors) {
      for (let left = size; left > 0;) {
        const piece = source(left)
        output.write(piece)
        left -= piece.length
      }
      output.write(Buffer.alloc(align(size) - size))
    }
    return { fileBytes: output.finish(), weights, rows, tensors }
  } finally {
    output.close()
  }
}

/**
 * @param {Dtype} dtype
 * @param {number} seed
 * @returns {(limitBytes: number) => Buffer} Gives the next bytes of an endless run of weights, at most so many: a view,
 *   good until the next call.
 */
function weightSource(dtype, seed) {
  const { elementBytes } = DTYPES[dtype]
  const blockElements = BLOCK_BYTES / elementBytes
  const values = gaussianWeights(blockElements, seed)
  const elements = dtype === 'F16' ? toHalfPrecision(values) : values
  const block = Buffer.from(elements.buffer, elements.byteOffset, elements.byteLength)

  let pass = 0
  let at = 0
  return (limitBytes) => {
    if (at === BLOCK_BYTES) {
      pass++
      at = ((pass * PASS_SHIFT_ELEMENTS) % (blockElements / 2)) * elementBytes
    }
    const piece = block.subarray(at, Math.min(at + limitBytes, BLOCK_BYTES))
    at += piece.length
    return piece
  }
}

/** A file written from front to end whose last 4 bytes are the CRC-32 of all before them. Small writes are gathered. */
class ChecksummedFile {
  #descriptor
  #staging = Buffer.alloc(STAGING_BYTES)
  #staged = 0
  #written = 0
  #checksum = 0

  /** @param {string} path */
  constructor(path) {
    this.#descriptor = openSync(path, 'w')
  }

  /** @param {Buffer} bytes */
  write(bytes) {
    if (this.#staged + bytes.length > STAGING_BYTES) this.#flush()
    if (bytes.length > STAGING_BYTES) {
      this.#checksum = crc32(bytes, this.#checksum)
      this.#writeAll(bytes)
    } else {
      this.#staged += bytes.copy(this.#staging, this.#staged)
    }
  }

  /** @returns {number} The file's length in bytes. */
  finish() {
    this.#flush()
    const footer = Buffer.alloc(4)
    footer.writeUInt32LE(this.#checksum)
    this.#writeAll(footer)
    return this.#written
  }

  close() {
    closeSync(this.#descriptor)
  }

  #flush() {
    const staged = this.#staging.subarray(0, this.#staged)
    this.#checksum = crc32(staged, this.#checksum)
    this.#writeAll(staged)
    this.#staged = 0
  }

  /** @param {Buffer} bytes */
  #writeAll(bytes) {
    for (let at = 0; at < bytes.length;) at += writeSync(this.#descriptor, bytes, at)
    this.#written += bytes.length
  }
}
