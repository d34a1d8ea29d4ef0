/** Figures of error between two tensors, in WebAssembly SIMD: the module's exports. */
export { A, B, BINS, COUNTS, GREATEST, IMPORTANCE, MAX_VALUES, MEMORY_BYTES, RAW, SUMS } from "./memory";
export { measure } from "./measure";
export { widenBF16, widenF16 } from "./widen";
