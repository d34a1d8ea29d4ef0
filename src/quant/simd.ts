/**
 * The SIMD kernel: WebAssembly, compiled from `assembly/` when the package is built. Four sub-blocks are fitted side by
 * side, one a lane, so that every lane keeps the scalar order of operations and so the scalar bytes.
 */
import { SUPER_BLOCK_ELEMENTS } from '../model/dtypes.js'
import { compileModule, instantiate } from '../wasm/module.js'
import type { BlockDType } from './block.js'
import { INFINITY_16, MAX_OUTPUT_BYTES, WEIGHT_BYTES, type Fitting, type Kernel } from './kernel.js'
import { kernelWasm } from './kernel-wasm.js'

/** Fits the first `blocks` blocks of INPUT into OUTPUT; -1, or the index of a value that is not finite. */
type FitBlocks = (blocks: number, isWeighted: number) => number

/** The exports that fit as llama.cpp does. */
const SEARCH_EXPORTS = {
  Q2_K: 'q2k',
  Q3_K: 'q3k',
  Q4_K: 'q4k',
  Q5_K: 'q5k',
  Q6_K: 'q6k',
  Q4_0: 'q4_0',
  Q4_1: 'q4_1',
  Q5_0: 'q5_0',
  Q5_1: 'q5_1',
  Q8_0: 'q8_0',
  IQ4_NL: 'iq4_nl',
  IQ4_XS: 'iq4_xs',
} as const satisfies Record<BlockDType, string>

/** Those that leave less error. */
const REFINED_EXPORTS = {
  Q2_K: 'refinedQ2k',
  Q3_K: 'refinedQ3k',
  Q4_K: 'refinedQ4k',
  Q5_K: 'refinedQ5k',
  Q6_K: 'refinedQ6k',
} as const satisfies Partial<Record<BlockDType, string>>

type RefinedDType = keyof typeof REFINED_EXPORTS

/** The name of the export that makes blocks. */
function exportOf({ dtype, fit }: Fitting): FitExport {
  if (fit === 'minmax') return fit
  return fit === 'refined' && dtype in REFINED_EXPORTS ? REFINED_EXPORTS[dtype as RefinedDType] : SEARCH_EXPORTS[dtype]
}

type FitExport = (typeof SEARCH_EXPORTS)[BlockDType] | (typeof REFINED_EXPORTS)[RefinedDType] | 'minmax'

/** What the module exports: addresses in its memory, and functions on what stands there. */
interface KernelExports extends Readonly<Record<FitExport, FitBlocks>> {
  readonly INPUT: WebAssembly.Global
  readonly OUTPUT: WebAssembly.Global
  readonly RAW: WebAssembly.Global
  readonly IMPORTANCE: WebAssembly.Global
  readonly ROW_MEAN_SQUARES: WebAssembly.Global
  readonly MAX_BLOCKS: WebAssembly.Global
  readonly MEMORY_BYTES: WebAssembly.Global
  /** Widen `count` numbers of RAW, from element `source` on, to INPUT, from element `target` on. */
  widenF16(source: number, target: number, count: number): void
  widenBF16(source: number, target: number, count: number): void
  /** Add a number to the first `count` of INPUT. */
  add(count: number, value: number): void
  /** Index of the first of `count` values that is not finite, in INPUT or in RAW; or of one that would not be in RAW. */
  checkF32(count: number): number
  check16(count: number, infinity: number): number
  narrowF16(count: number): number
  narrowBF16(count: number): number
}

/** Pages of memory that the module asks for; its addresses are fixed when it is compiled. */
const MEMORY_PAGES = 13

let compiled: WebAssembly.Module | undefined

/** The module, compiled once a process. */
export function kernelModule(): WebAssembly.Module {
  compiled ??= compileModule(kernelWasm)
  return compiled
}

/** A kernel with a memory of its own, 832 KiB: one a thread. */
export function createSimdKernel(module: WebAssembly.Module = kernelModule()): Kernel {
  const { exports, memory } = instantiate<KernelExports>(module, MEMORY_PAGES)
  const { INPUT, OUTPUT, RAW, IMPORTANCE, ROW_MEAN_SQUARES } = exports
  const maxBlocks = exports.MAX_BLOCKS.value
  const elements = maxBlocks * SUPER_BLOCK_ELEMENTS
  const raw = new Uint8Array(memory, RAW.value, elements * 2)
  const inputBytes = new Uint8Array(memory, INPUT.value, elements * 4)
  return {
    input: new Float32Array(memory, INPUT.value, elements),
    importance: new Float32Array(memory, IMPORTANCE.value, elements),
    rowMeanSquares: new Float32Array(memory, ROW_MEAN_SQUARES.value, elements / 32),
    output: new Uint8Array(memory, OUTPUT.value, maxBlocks * MAX_OUTPUT_BYTES),
    widen(dtype, bytes, start, count) {
      raw.set(bytes.subarray(0, count * 2))
      if (dtype === 'F16') exports.widenF16(0, start, count)
      else exports.widenBF16(0, start, count)
    },
    fit(fitting: Fitting, blocks) {
      return exports[exportOf(fitting)](blocks, Number(fitting.isWeighted ?? false)) === -1
    },
    add: (value, count) => exports.add(count, value),
    narrow(dtype, count, target) {
      const check = dtype === 'F32' ? 'checkF32' : dtype === 'F16' ? 'narrowF16' : 'narrowBF16'
      const bad = exports[check](count)
      const result = dtype === 'F32' ? inputBytes : raw
      if (bad < 0) target.set(result.subarray(0, count * WEIGHT_BYTES[dtype]))
      return bad
    },
    firstNotFinite(dtype, bytes, count) {
      const part = bytes.subarray(0, count * WEIGHT_BYTES[dtype])
      if (dtype === 'F32') {
        inputBytes.set(part)
        return exports.checkF32(count)
      }
      raw.set(part)
      return exports.check16(count, INFINITY_16[dtype])
    },
  }
}
