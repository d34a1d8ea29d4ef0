/**
 * Conversions between floating-point formats, on bit patterns: exact when widening, round to nearest, ties to even,
 * when narrowing. Subnormals are numbers like any other.
 */
import { AprError } from '../model/errors.js'

if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
  throw new AprError(
    'APR_UNSUPPORTED',
    'expected a little-endian machine, as the file format is, found a big-endian one',
  )
}

const f32 = new Float32Array(1)
const bits = new Uint32Array(f32.buffer)

/** Value of a 16-bit pattern of the IEEE half-precision format. */
export function f16ToF32(half: number): number {
  const sign = (half & 0x8000) === 0 ? 1 : -1
  const exponent = (half >> 10) & 0x1f
  const mantissa = half & 0x3ff
  if (exponent === 0) return sign * mantissa * 2 ** -24
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}

/** Value of the IEEE half-precision number at `position`. */
export function f16At(bytes: Uint8Array, position: number): number {
  return f16ToF32((bytes[position] ?? 0) | ((bytes[position + 1] ?? 0) << 8))
}

/** Value of a 16-bit pattern of the bfloat16 format: the upper half of an f32. */
export function bf16ToF32(upper: number): number {
  bits[0] = upper << 16
  return f32[0] ?? 0
}

/** NaN as scales hold it: x86's arithmetic makes it negative, and so do llama.cpp's blocks. */
const NAN_16 = 0xfe00

/** The 16-bit half-precision pattern nearest to an f32 value, ties to even. */
export function f32ToF16(value: number): number {
  f32[0] = value
  const pattern = bits[0] ?? 0
  const sign = (pattern >>> 16) & 0x8000
  const magnitude = pattern & 0x7fffffff
  if (magnitude > 0x7f800000) return NAN_16
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // rounds to 2^16 or more: infinity
  if (magnitude < 0x38800000) {
    // Below 2^-14, the smallest normal half: a whole number of steps of 2^-24, which the sum rounds for us.
    f32[0] = Math.abs(value) + 0.5
    return sign | ((bits[0] ?? 0) - 0x3f000000)
  }
  const rounding = 0xfff + ((magnitude >>> 13) & 1)
  return sign | ((magnitude + rounding - 0x38000000) >>> 13)
}

/** The 16-bit bfloat16 pattern nearest to an f32 value that is a number, ties to even. */
export function f32ToBF16(value: number): number {
  f32[0] = value
  const pattern = bits[0] ?? 0
  return ((pattern + 0x7fff + ((pattern >>> 16) & 1)) >>> 16) & 0xffff
}
