/**
 * Seeded gaussian weights, as f32 or f16 bytes.
 */

/** Standard deviation of the weights of a typical trained matrix. */
const STANDARD_DEVIATION = 0.02

/**
 * @param {number} elements
 * @param {number} seed
 * @returns {Float32Array} The same values for the same seed on every machine with the same Math.log, cos and sin.
 */
export function gaussianWeights(elements, seed) {
  const values = new Float32Array(elements)
  const random = uniform(seed)
  for (let i = 0; i < elements; i += 2) {
    // Box-Muller: two uniforms make two independent gaussians.
    const radius = STANDARD_DEVIATION * Math.sqrt(-2 * Math.log(1 - random()))
    const angle = 2 * Math.PI * random()
    values[i] = radius * Math.cos(angle)
    if (i + 1 < elements) values[i + 1] = radius * Math.sin(angle)
  }
  return values
}

/**
 * @param {Float32Array} values Within the range of f16.
 * @returns {Uint16Array} IEEE half precision, rounded to nearest even.
 */
export function toHalfPrecision(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const halves = new Uint16Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const sign = (bits[i] >>> 16) & 0x8000
    const magnitude = bits[i] & 0x7fffffff
    if (magnitude >= 0x38800000) {
      // Normal in f16: rebias the exponent by 127 - 15, drop 13 bits of the fraction.
      const rebiased = magnitude - 0x38000000
      halves[i] = sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13)
    } else {
      // Subnormal in f16: a multiple of 2^-24. Adding 2^23 and taking it away again rounds to nearest even.
      const steps = Math.abs(values[i]) * 2 ** 24
      halves[i] = sign | (Math.fround(steps + 2 ** 23) - 2 ** 23)
    }
  }
  return halves
}

/**
 * mulberry32: 32 bits of state, good enough for weights and quick.
 *
 * @param {number} seed
 * @returns {() => number} Uniform in [0, 1).
 */
function uniform(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
