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
const GGML_TYPES = {
  ...{ Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q2_K: 10, Q3_K: 11, Q4_K: 12, Q5_K: 13, Q6_K: 14 },
  ...{ IQ4_NL: 20, IQ4_XS: 23 },
}

/**
 * @typedef {object} Llama
 * @property {string} version ggml's version, the llama.cpp release it was built from, and the npm package.
 * @property {(values: Float32Array, rows: number, rowElements: number, blocks: Uint8Array) => Uint8Array} quantizeSearchInto
 *   Q4_K of a matrix without importance, into the caller's array, so that a timed call allocates nothing.
 * @property {(dtype: keyof typeof GGML_TYPES, values: Float32Array, rowElements: number, blocks: Uint8Array, importance?: Float32Array) => Uint8Array} quantizeInto
 *   Any block type, of whole rows; `importance` is that of one row, the same for all.
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

  for (const type of Object.values(GGML_TYPES)) library.func('void ggml_quantize_init(int type)')(type)

  /** @type {Llama['quantizeInto']} */
  const quantizeInto = (dtype, values, rowElements, blocks, importance) => {
    const type = GGML_TYPES[dtype]
    const rows = values.length / rowElements
    if (!Number.isInteger(rows)) {
      throw new RangeError(`expected whole rows of ${rowElements} values, found ${values.length}`)
    }
    const expectedBytes = rows * Number(rowSize(type, rowElements))
    if (blocks.byteLength !== expectedBytes) {
      throw new RangeError(`expected ${expectedBytes} bytes of blocks, found ${blocks.byteLength}`)
    }
    const writtenBytes = Number(quantizeChunk(type, values, blocks, 0, rows, rowElements, importance ?? null))
    if (writtenBytes !== expectedBytes) {
      throw new Error(`expected ggml_quantize_chunk to write ${expectedBytes} bytes, found ${writtenBytes}`)
    }
    return blocks
  }

  return {
    version: `ggml ${ggmlVersion()}, llama.cpp ${release}, ${PACKAGE} ${packageVersion}`,
    quantizeInto,
    quantizeSearchInto: (values, rows, rowElements, blocks) => quantizeInto('Q4_K', values, rowElements, blocks),
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
