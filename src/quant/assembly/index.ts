/**
 * Fits of f32 weights to every block type, and conversions between float dtypes, in WebAssembly SIMD: the module's exports.
 * The arithmetic of the fits is that of the scalar code, operation by operation; no fused multiply-add, no relaxed SIMD, so
 * every machine writes the same bytes.
 */
export { INPUT, RAW, OUTPUT, IMPORTANCE, ROW_MEAN_SQUARES, MAX_BLOCKS, MEMORY_BYTES } from "./memory";
export { q2k } from "./affine/q2k";
export { q4k, q5k } from "./affine/six-bits";
export { q3k } from "./signed/q3k";
export { q6k } from "./signed/q6k";
export { minmax } from "./minmax";
export { refinedQ3k, refinedQ6k } from "./refined/signed";
export { refinedQ2k, refinedQ4k, refinedQ5k } from "./refined/super-blocks";
export { q4_1, q5_1 } from "./small/affine";
export { iq4_nl, iq4_xs } from "./small/iq4";
export { q4_0, q5_0, q8_0 } from "./small/signed";
export { widenF16, widenBF16 } from "./widen";
export { add, check16, checkF32, narrowBF16, narrowF16 } from "./narrow";
