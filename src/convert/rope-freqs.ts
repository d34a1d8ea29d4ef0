/**
 * Factors of the rope frequencies for long contexts, as Llama 3.1 has them: bit for bit those of the reference converter,
 * which computes in f32, and divides a number by a tensor by multiplying with its reciprocal.
 */
import type { JsonObject } from './json-file.js'

const f32 = Math.fround
const reciprocal = (value: number): number => f32(1 / value)

/**
 * @param dimensions of a head
 * @param rope `rope_theta`, `factor`, `low_freq_factor`, `high_freq_factor`, `original_max_position_embeddings`
 * @returns one value for two dimensions
 */
export function ropeFrequencies(dimensions: number, rope: JsonObject): Float32Array {
  const number = (key: string, otherwise: number): number => {
    const value = rope[key]
    return typeof value === 'number' ? value : otherwise
  }
  const theta = number('rope_theta', 10_000)
  const factor = number('factor', 8)
  const low = number('low_freq_factor', 1)
  const high = number('high_freq_factor', 4)
  const length = number('original_max_position_embeddings', 8192)
  return Float32Array.from({ length: Math.ceil(dimensions / 2) }, (_, i) => {
    const frequency = reciprocal(f32(Math.pow(theta, f32((2 * i) / dimensions))))
    const wave = f32(reciprocal(frequency) * f32(2 * Math.PI))
    if (wave < length / high) return 1
    if (wave > length / low) return factor
    const smooth = f32(f32(f32(reciprocal(wave) * length) - low) / (high - low))
    return reciprocal(f32(f32(f32(1 - smooth) / factor) + smooth))
  })
}
