/**
 * The whole job by llama.cpp: `llama_model_quantize` of its prebuilt library, which `llama-quantize` calls, in a process of
 * its own. This file is both sides: the measuring one, and `node llama-quantize.js IN.gguf OUT.gguf FILE_TYPE THREADS`.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { measureProcess } from '../lib/process.js'

const PROGRAM = fileURLToPath(import.meta.url)
const PACKAGE = '@node-llama-cpp/linux-x64'

/** `enum llama_ftype` of llama.h. */
export const FILE_TYPES = { Q4_K_M: 15 }

/** @param {string} input @param {string} output @param {keyof typeof FILE_TYPES} recipe @param {number} threads */
export async function llamaQuantize(input, output, recipe, threads) {
  return await measureProcess(process.execPath, [PROGRAM, input, output, String(FILE_TYPES[recipe]), String(threads)])
}

async function run(/** @type {string[]} */ [input, output, fileType, threads]) {
  const koffi = createRequire(import.meta.url)('koffi')
  const { getBinsDir } = await import(PACKAGE)
  const folder = join(getBinsDir().binsDir, 'linux-x64')
  koffi.load(join(folder, 'libggml-base.so'))
  const ggml = koffi.load(join(folder, 'libggml.v0.5.0.so'))
  const library = koffi.load(join(folder, 'libllama.v0.5.0.so'))
  ggml.func('void ggml_backend_load_all_from_path(const char *path)')(folder)
  // llama_model_quantize_params: threads, file type, types of output and embedding (43: none), flags, pointers.
  const params = Buffer.alloc(64)
  ;[Number(threads), Number(fileType), 43, 43].forEach((value, i) => params.writeInt32LE(value, 4 * i))
  params[17] = 1
  const quantize = library.func('uint32_t llama_model_quantize(const char *from, const char *to, const void *params)')
  const code = quantize(input, output, params)
  if (code !== 0) throw new Error(`expected llama_model_quantize to give 0, found ${code}`)
}

if (process.argv[1] === PROGRAM) await run(process.argv.slice(2))
