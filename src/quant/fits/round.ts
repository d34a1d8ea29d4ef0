const f32 = new Float32Array(1)
const bits = new Uint32Array(f32.buffer)

/**
 * Round to nearest, ties to even, for |v| < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits. Beyond that the
 * same bits still decide, as they do in llama.cpp (`nearest_int`): infinities give -4194304, NaN gives 0.
 */
export function round(v: number): number {
  f32[0] = v + 12582912
  return ((bits[0] ?? 0) & 0x7fffff) - 0x400000
}

/** `round`, then no less than `least` and no more than `most`. */
export function roundBetween(v: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, round(v)))
}
