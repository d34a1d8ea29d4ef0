/**
 * CRC-32 (IEEE 802.3, as in zip, gzip and zlib) near the speed of memory: WebAssembly folds long data, zlib does the rest.
 * Two to three times as fast as zlib alone, see docs/performance.md.
 */
import { crc32 as zlibCrc32 } from 'node:zlib'
import { compileModule, instantiate } from '../wasm.js'
import { multiply, powerOfX } from './combine.js'

/** What the module exports: addresses in its memory, and the steps of folding. See `assembly/index.ts`. */
interface FolderExports {
  readonly DATA: WebAssembly.Global
  readonly DATA_BYTES: WebAssembly.Global
  readonly STATE_BYTES: WebAssembly.Global
  readonly MEMORY_BYTES: WebAssembly.Global
  begin(): void
  fold(bytes: number): void
  end(): void
}

/** The module, and views of its memory: what `fold` takes, and what `end` leaves there. */
interface Folder {
  readonly exports: FolderExports
  readonly data: Uint8Array
  readonly rest: Uint8Array
  /** The remainder of `rest` is that of the message times x^(8 * STATE_BYTES); times this, it is the message's. */
  readonly unshift: number
}

/** Below this, zlib is done before the folding has begun. */
const MIN_FOLDED_BYTES = 32 * 1024
const MEMORY_PAGES = 5
const VECTOR_BYTES = 16

/**
 * The CRC-32 of `data` behind what has the checksum `before`.
 * @param before the checksum so far, 0 at the start
 */
export function crc32(data: Uint8Array, before = 0): number {
  if (data.length < MIN_FOLDED_BYTES) return zlibCrc32(data, before)
  const vectors = data.length - (data.length % VECTOR_BYTES)
  return zlibCrc32(data.subarray(vectors), foldedCrc32(data.subarray(0, vectors), before))
}

let folder: Folder | undefined

/** One a thread: its memory is 320 KiB. */
function createFolder(): Folder {
  const module = compileModule(new URL('./crc32.wasm', import.meta.url))
  const { exports, memory } = instantiate<FolderExports>(module, MEMORY_PAGES)
  const { DATA, DATA_BYTES, STATE_BYTES } = exports
  const data = new Uint8Array(memory, DATA.value, DATA_BYTES.value)
  const rest = data.subarray(0, STATE_BYTES.value)
  // x has the order 2^32 - 1.
  return { exports, data, rest, unshift: powerOfX(2 ** 32 - 1 - 8 * rest.length) }
}

function foldedCrc32(bytes: Uint8Array, before: number): number {
  const { exports, data, rest, unshift } = (folder ??= createFolder())
  exports.begin()
  for (let start = 0; start < bytes.length; start += data.length) {
    const chunk = bytes.subarray(start, start + data.length)
    data.set(chunk)
    // A CRC's register starts as the complement of the checksum so far: the same as to add that to the first bytes.
    if (start === 0) for (let i = 0; i < 4; i++) data[i] = (data[i] ?? 0) ^ (~before >>> (8 * i))
    exports.fold(chunk.length)
  }
  exports.end()
  // Here the register starts at 0: what it started with is in the bytes already.
  const register = ~zlibCrc32(rest, 0xffffffff)
  return ~multiply(unshift, register) >>> 0
}
