/** Pairs of values in a small memory of its own, where WebAssembly sums and counts them: see `assembly/`. */
import type { DType } from '../model/dtypes.js'
import { compileModule, instantiate } from '../wasm/module.js'
import { errorsWasm } from './errors-wasm.js'
import { SUMS } from './sums.js'

interface Exports {
  readonly A: WebAssembly.Global
  readonly B: WebAssembly.Global
  readonly IMPORTANCE: WebAssembly.Global
  readonly RAW: WebAssembly.Global
  readonly SUMS: WebAssembly.Global
  readonly GREATEST: WebAssembly.Global
  readonly COUNTS: WebAssembly.Global
  readonly BINS: WebAssembly.Global
  readonly MAX_VALUES: WebAssembly.Global
  readonly MEMORY_BYTES: WebAssembly.Global
  measure(first: number, count: number, inRow: number, isWeighted: number): number
  widenF16(target: number, count: number): void
  widenBF16(target: number, count: number): void
}

/** Half octaves of f32: what the bits above the 22 lowest tell, without the sign. */
export const BINS = 512

export interface ErrorKernel {
  /** Take values: w of the original, v of what is held against it, u that says how much a pair counts. */
  readonly a: Float32Array
  readonly b: Float32Array
  readonly importance: Float32Array
  /** Sums of the row under way, as in `sums.ts`. */
  readonly sums: Float64Array
  /** Decodes `count` values of whole blocks, from the first on, where there is a way that is faster than another. */
  decode(dtype: DType, bytes: Uint8Array, count: number, into: 'a' | 'b', position: number): boolean
  /**
   * Adds `count` pairs from `first` on, all of one row, to its sums, and to the counts.
   * @param inRow where in its row the first stands
   * @returns -1; or where a group of at most 32 starts that holds NaN or infinity, and nothing of it is added
   */
  measure(first: number, count: number, inRow: number, isWeighted: boolean): number
  /** The greatest |e| since it was asked last, and where it stands; undefined where it was all 0. */
  takeGreatest(): { readonly error: number; readonly index: number } | undefined
  /** Adds the counts since they were asked last: by half octaves, of w and of e. */
  takeCounts(magnitudes: Float64Array, errors: Float64Array): void
}

const MEMORY_PAGES = 5
let compiled: WebAssembly.Module | undefined

/** One a thread: its memory is 320 KiB. */
export function createErrorKernel(): ErrorKernel {
  compiled ??= compileModule(errorsWasm)
  const { exports, memory } = instantiate<Exports>(compiled, MEMORY_PAGES)
  const values = exports.MAX_VALUES.value
  const array = (address: WebAssembly.Global): Float32Array => new Float32Array(memory, address.value, values)
  const [a, b] = [array(exports.A), array(exports.B)]
  const raw = new Uint8Array(memory, exports.RAW.value, values * 2)
  const greatest = new Float32Array(memory, exports.GREATEST.value, 1)
  const place = new Int32Array(memory, exports.GREATEST.value + 4, 1)
  const counts = new Uint32Array(memory, exports.COUNTS.value, 4 * BINS)
  const { A, B } = exports
  return {
    a,
    b,
    importance: array(exports.IMPORTANCE),
    sums: new Float64Array(memory, exports.SUMS.value, 2 * SUMS),
    decode(dtype, bytes, count, into, position) {
      const target = (into === 'a' ? A : B).value + position * 4
      if (dtype === 'F32') {
        new Uint8Array(memory, target, count * 4).set(bytes.subarray(0, count * 4))
        return true
      }
      const decode = DECODERS[dtype]
      if (!decode) return false
      raw.set(bytes.subarray(0, count * 2))
      exports[decode](target, count)
      return true
    },
    measure: (first, count, inRow, isWeighted) => exports.measure(first, count, inRow, Number(isWeighted)),
    takeGreatest() {
      const [error = 0] = greatest
      if (error === 0) return undefined
      greatest[0] = 0
      return { error, index: place[0] as number }
    },
    takeCounts(magnitudes, errors) {
      for (let bin = 0; bin < BINS; bin++) {
        const at = (table: number): number => counts[table * BINS + bin] as number
        magnitudes[bin] = (magnitudes[bin] as number) + at(0) + at(1)
        errors[bin] = (errors[bin] as number) + at(2) + at(3)
      }
      counts.fill(0)
    },
  }
}

const DECODERS: Partial<Record<DType, 'widenF16' | 'widenBF16'>> = { F16: 'widenF16', BF16: 'widenBF16' }
