/**
 * llama.cpp as a peer: `ggml_quantize_chunk` of its prebuilt `libggml-base.so`, called through koffi.
 *
 * The library comes from the npm package `@node-llama-cpp/linux-x64`; nothing is compiled here. The call is synchronous
 * and runs on the calling thread: run it in worker threads (`llama-worker.js`) for a figure on several cores.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'

const require = createRequire(import.meta.url)

const PACKAGE = '@node-llama-cpp/linux-x64'

/** `enum ggml_type` of ggml.h. */
const GGML_TYPE_Q4_K = 12

const SUPER_BLOCK_ELEMENTS = 256
const SUPER_BLOCK_BYTES = 144

/**
 * @typedef {object} Llama
 * @property {string} version ggml's version, the llama.cpp release it was built from, and the npm package.
 * @property {(values: Float32Array, rows: number, rowElements: number) => Uint8Array} quantizeSearch Q4_K of a matrix
 *   without an importance matrix, into a fresh array of `rows * rowElements / 256 * 144` bytes.
 * @property {(values: Float32Array, rows: number, rowElements: number, blocks: Uint8Array) => Uint8Array} quantizeSearchInto
 *   The same into the caller's array, so that a timed call allocates nothing.
 *
 * @typedef {{ unavailable: string }} Unavailable Why the peer cannot run here.
 */

/**
 * Loads the library.
 *
 * @param {{ onUnavailable?: (reason: string) => void }} [options] `onUnavailable` hears why the answer is null.
 * @returns {Promise<Llama | null>} null where the platform lacks the library.
 */
export async function openLlama({ onUnavailable } = {}) {
  const unavailable = (/** @type {string} */ reason) => {
    onUnavailable?.(reason)
    return null
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return unavailable(`llama.cpp: ${PACKAGE} is built for linux-x64, this is ${process.platform}-${process.arch}`)
  }

  let koffi, folder, packageVersion
  try {
    koffi = require('koffi')
    ;({ folder, packageVersion } = await findLibrary())
  } catch (error) {
    return unavailable(`llama.cpp: ${firstLine(error)}`)
  }

  let library
  try {
    library = koffi.load(join(folder, 'libggml-base.so'))
  } catch (error) {
    return unavailable(`llama.cpp: libggml-base.so does not load: ${firstLine(error)}`)
  }

  const ggmlVersion = library.func('const char *ggml_version(void)')
  const rowSize = library.func('size_t ggml_row_size(int type, int64_t elements)')
  // `void *` with a typed array passes the array's own address: koffi converts and copies only `float *` and the like.
  const quantizeChunk = library.func(
    'size_t ggml_quantize_chunk(int type, const void *values, void *blocks, int64_t start, int64_t rows, int64_t rowElements, const void *importance)',
  )
  const release = llamaRelease(folder)

  /** @type {Llama['quantizeSearchInto']} */
  const quantizeSearchInto = (values, rows, rowElements, blocks) => {
    if (rowElements % SUPER_BLOCK_ELEMENTS !== 0) {
      throw new RangeError(`expected rows of a multiple of ${SUPER_BLOCK_ELEMENTS} elements, found ${rowElements}`)
    }
    if (values.length !== rows * rowElements) {
      throw new RangeError(`expected ${rows} x ${rowElements} values, found ${values.length}`)
    }
    const expectedBytes = rows * Number(rowSize(GGML_TYPE_Q4_K, rowElements))
    if (blocks.byteLength !== expectedBytes) {
      throw new RangeError(`expected ${expectedBytes} bytes of blocks, found ${blocks.byteLength}`)
    }
    const writtenBytes = Number(quantizeChunk(GGML_TYPE_Q4_K, values, blocks, 0, rows, rowElements, null))
    if (writtenBytes !== expectedBytes) {
      throw new Error(`expected ggml_quantize_chunk to write ${expectedBytes} bytes, found ${writtenBytes}`)
    }
    return blocks
  }

  return {
    version: `ggml ${ggmlVersion()}, llama.cpp ${release}, ${PACKAGE} ${packageVersion}`,
    quantizeSearch: (values, rows, rowElements) =>
      quantizeSearchInto(
        values,
        rows,
        rowElements,
        new Uint8Array((values.length / SUPER_BLOCK_ELEMENTS) * SUPER_BLOCK_BYTES),
      ),
    quantizeSearchInto,
  }
}

/** Where the shared libraries lie: the package exports nothing but a function that knows it. */
async function findLibrary() {
  const { getBinsDir } = await import(PACKAGE)
  const { binsDir, packageVersion } = getBinsDir()
  return { folder: join(binsDir, 'linux-x64'), packageVersion }
}

/**
 * The llama.cpp release that the package was built from.
 *
 * @param {string} folder
 * @returns {string}
 */
function llamaRelease(folder) {
  try {
    return require(join(folder, '_nlcBuildMetadata.json')).buildOptions.llamaCpp.release
  } catch {
    return '(release unknown)'
  }
}

/** @param {unknown} error */
function firstLine(error) {
  return String(error instanceof Error ? error.message : error).split('\n')[0]
}
