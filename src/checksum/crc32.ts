/**
 * CRC-32 (IEEE 802.3, as in zip, gzip and zlib) near the speed of memory, in WebAssembly: tables for short data, folding for
 * long. Two to three times as fast as zlib, see docs/performance.md.
 */
import { compileModule, instantiate } from '../wasm/module.js'
import { multiply, powerOfX } from './combine.js'
import { crc32Wasm } from './crc32-wasm.js'

/** What the module exports: addresses in its memory, and the steps of a checksum. See `assembly/index.ts`. */
interface Exports {
  readonly DATA: WebAssembly.Global
  readonly DATA_BYTES: WebAssembly.Global
  readonly STATE_BYTES: WebAssembly.Global
  readonly MEMORY_BYTES: WebAssembly.Global
  prepare(): void
  update(register: number, bytes: number): number
  begin(): void
  fold(bytes: number): void
  end(): void
}

/** The module, and a view of its memory: what `update` and `fold` take. */
interface Checksum {
  readonly exports: Exports
  readonly data: Uint8Array
  readonly stateBytes: number
  /** What `end` leaves at DATA has the remainder of the message times x^(8 * stateBytes); times this, it is the message's. */
  readonly unshift: number
}

/** Below this, tables are done before the folding has begun. */
const MIN_FOLDED_BYTES = 8 * 1024
const MEMORY_PAGES = 5
const VECTOR_BYTES = 16

/**
 * The CRC-32 of `data` behind what has the checksum `before`.
 * @param before the checksum so far, 0 at the start
 */
export function crc32(data: Uint8Array, before = 0): number {
  // Also the view of a buffer that was moved away has no bytes.
  if (data.length === 0) return before
  if (data.length < MIN_FOLDED_BYTES) return shortCrc32(data, before)
  const vectors = data.length - (data.length % VECTOR_BYTES)
  return shortCrc32(data.subarray(vectors), foldedCrc32(data.subarray(0, vectors), before))
}

let checksum: Checksum | undefined

/** One a thread: its memory is 320 KiB. */
function createChecksum(): Checksum {
  const { exports, memory } = instantiate<Exports>(compileModule(crc32Wasm), MEMORY_PAGES)
  const { DATA, DATA_BYTES, STATE_BYTES } = exports
  exports.prepare()
  const stateBytes = STATE_BYTES.value
  // x has the order 2^32 - 1.
  const unshift = powerOfX(2 ** 32 - 1 - 8 * stateBytes)
  return { exports, data: new Uint8Array(memory, DATA.value, DATA_BYTES.value), stateBytes, unshift }
}

function shortCrc32(bytes: Uint8Array, before: number): number {
  const { exports, data } = (checksum ??= createChecksum())
  data.set(bytes)
  // A CRC's register is the complement of the checksum so far.
  return ~exports.update(~before, bytes.length) >>> 0
}

function foldedCrc32(bytes: Uint8Array, before: number): number {
  const { exports, data, stateBytes, unshift } = (checksum ??= createChecksum())
  exports.begin()
  for (let start = 0; start < bytes.length; start += data.length) {
    const chunk = bytes.subarray(start, start + data.length)
    data.set(chunk)
    // What the register starts with is the same as to add it to the first bytes.
    if (start === 0) for (let i = 0; i < 4; i++) data[i] = (data[i] ?? 0) ^ (~before >>> (8 * i))
    exports.fold(chunk.length)
  }
  exports.end()
  return ~multiply(unshift, exports.update(0, stateBytes)) >>> 0
}
