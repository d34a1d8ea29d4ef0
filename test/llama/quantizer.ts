/** llama.cpp's own `llama_model_quantize`, as a function that tells what it would make: it prints that in a dry run. */
import { join } from 'node:path'
import { RECIPES } from '../../dist/recipes/names.js'
import type { RecipeSettings } from '../../dist/recipes/settings.js'
import { llamaPackagesOrWhyNot, type LlamaPackages } from './packages.js'

/** Ids of dtypes in ggml. */
const GGML_IDS: Readonly<Record<string, number>> = {
  ...{ F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q2_K: 10, Q3_K: 11, Q4_K: 12, Q5_K: 13, Q6_K: 14 },
  ...{ IQ4_NL: 20, IQ4_XS: 23, BF16: 30 },
}
/** Stands for no dtype. */
const NONE = 43

/** What is used of koffi. */
interface Koffi {
  load(path: string): { func(prototype: string): (...values: unknown[]) => unknown }
  proto(prototype: string): unknown
  pointer(type: unknown): unknown
  register(callback: (...values: unknown[]) => void, type: unknown): unknown
  address(value: unknown): bigint
  alloc(type: string, count: number): unknown
  encode(target: unknown, offset: number, type: string, value: unknown): void
}

/** A tensor as a dry run tells of it. */
export interface DryRunTensor {
  readonly name: string
  readonly dtype: string
}

/** Undefined where llama.cpp refuses. */
export type DryRunner = (path: string, settings: RecipeSettings) => readonly DryRunTensor[] | undefined

/** The function; or why there is none. */
export function quantizerOrWhyNot(): DryRunner | string {
  const packages = llamaPackagesOrWhyNot()
  return typeof packages === 'string' ? packages : openQuantizer(packages)
}

function openQuantizer(packages: LlamaPackages): DryRunner {
  const { folder } = packages
  const koffi = packages.koffi as Koffi
  koffi.load(join(folder, 'libggml-base.so'))
  const ggml = koffi.load(join(folder, 'libggml.v0.5.0.so'))
  const library = koffi.load(join(folder, 'libllama.v0.5.0.so'))
  ggml.func('void ggml_backend_load_all_from_path(const char *path)')(folder)

  let log = ''
  const Log = koffi.proto('void LogCallback(int level, const char *text, void *data)')
  const onLog = koffi.register((_level, text) => (log += String(text)), koffi.pointer(Log))
  library.func('void llama_log_set(LogCallback *callback, void *data)')(onLog, null)
  const quantize = library.func('uint32_t llama_model_quantize(const char *from, const char *to, const void *params)')

  return (path, settings) => {
    // A few bytes a run, which are never freed.
    const address = (bytes: Buffer): bigint => {
      const memory = koffi.alloc('uint8_t', bytes.length)
      koffi.encode(memory, 0, `uint8_t[${bytes.length}]`, bytes)
      return koffi.address(memory)
    }
    const params = paramsOf(settings, address)
    log = ''
    const code = quantize(path, '/dev/null', params)
    return code === 0 ? tensorsOf(log) : undefined
  }
}

/** `llama_model_quantize_params` of a dry run. */
function paramsOf(settings: RecipeSettings, address: (bytes: Buffer) => bigint): Buffer {
  const { name, types, outputType, embeddingType, pure, leaveOutput, hasImportance, allowRequantize } = settings
  const params = Buffer.alloc(64)
  params.writeInt32LE(1, 0)
  params.writeInt32LE(RECIPES[name].fileType, 4)
  params.writeInt32LE(idOf(outputType), 8)
  params.writeInt32LE(idOf(embeddingType), 12)
  params.set([Number(allowRequantize === true), Number(leaveOutput !== true), 0, Number(pure === true), 0, 1], 16)
  const text = (value: string): bigint => address(Buffer.from(`${value}\0`))
  if (hasImportance) {
    // An entry of some name: that there is one is all that a dry run looks at.
    const matrix = Buffer.alloc(48)
    matrix.writeBigUInt64LE(text('blk.0.attn_q.weight'), 0)
    matrix.writeBigUInt64LE(address(Buffer.alloc(4)), 8)
    matrix.writeBigUInt64LE(1n, 16)
    params.writeBigUInt64LE(address(matrix), 24)
  }
  if (types) {
    const rules = Buffer.alloc(16 * (types.length + 1))
    types.forEach(({ pattern, dtype }, i) => {
      rules.writeBigUInt64LE(text(pattern.toLowerCase()), 16 * i)
      rules.writeInt32LE(idOf(dtype), 16 * i + 8)
    })
    params.writeBigUInt64LE(address(rules), 40)
  }
  return params
}

function idOf(dtype: string | undefined): number {
  return dtype === undefined ? NONE : (GGML_IDS[dtype] ?? NONE)
}

/** Lines as `[ 2/ 9] blk.0.attn_k.weight - [ 64, 32, 1, 1], type = f16, size = 1.00 MiB -> 0.50 MiB (q4_K)`. */
function tensorsOf(log: string): DryRunTensor[] {
  const lines = log.matchAll(/^\[ *\d+\/ *\d+\] +(.+?) +- \[.*?\], type = +(\w+), size = .*?(?:\((\w+)\))?$/gm)
  return Array.from(lines, ([, name = '', from = '', to = from]) => ({ name, dtype: to.toUpperCase() }))
}
