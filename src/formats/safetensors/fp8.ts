/**
 * Weights in FP8 that have scales, by block, by row or one for all, read as F32: the product of weight and scale; or as
 * BF16, rounded to nearest even. Which scale is whose is as llama.cpp's converter has it (`dequant_simple`).
 */
import type { ByteSource } from '../../model/byte-source.js'
import type { DType } from '../../model/dtypes.js'
import { AprError } from '../../model/errors.js'
import { tensorBytes, type TensorInfo } from '../../model/tensor.js'
import { bf16ToF32, f16ToF32 } from '../../quant/float.js'
import type { PlacedTensor } from '../format.js'
import { fp8Settings } from './fp8-settings.js'

/** The values of the 256 codes of F8_E4M3: sign, four bits of exponent (bias 7), three of mantissa; 0x7f and 0xff are NaN. */
const VALUES = Float32Array.from({ length: 256 }, (_, code) => {
  const exponent = (code >> 3) & 15
  const mantissa = code & 7
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10)
  return (code & 0x7f) === 0x7f ? NaN : code > 127 ? -magnitude : magnitude
})

/** The dtypes of scales: how one is read. */
const SCALES: Partial<Record<DType, (view: DataView, index: number) => number>> = {
  F32: (view, index) => view.getFloat32(4 * index, true),
  F16: (view, index) => f16ToF32(view.getUint16(2 * index, true)),
  BF16: (view, index) => bf16ToF32(view.getUint16(2 * index, true)),
  F8_E8M0: (view, index) => (view.getUint8(index) === 255 ? NaN : 2 ** (view.getUint8(index) - 127)),
}

/** A weight's scales are read whole. The largest stacked experts have 2 MB of them; one scale an element would be a trap. */
const MAX_SCALES_BYTES = 64 * 1024 * 1024

/** A weight in FP8, and its scales. */
interface Weight {
  readonly placed: PlacedTensor
  readonly scales: PlacedTensor
  readonly cols: number
  /** Elements of each dimension that have the same scale, and how far apart in the scales the next ones' is. */
  readonly steps: readonly number[]
  readonly strides: readonly number[]
}

/**
 * The same tensors with the weights in FP8 as numbers of another dtype, and without their scales.
 * @param config the model's `config.json`, parsed
 * @param sources those of the tensors; the ones that dequantize are added
 * @throws AprError `APR_BAD_INDEX` for scales that do not fit their weight
 */
export function dequantized(
  tensors: readonly PlacedTensor[],
  config: unknown,
  sources: ByteSource[],
  dtype: 'BF16' | 'F32',
): PlacedTensor[] {
  const width = dtype === 'BF16' ? 2 : 4
  const settings = fp8Settings(config)
  if (!settings) return [...tensors]
  const { suffix, block, unused } = settings
  const byName = new Map(tensors.map((placed) => [placed.tensor.name, placed]))
  const isWeight = (name: string): boolean => byName.get(name)?.tensor.dtype === 'F8_E4M3'
  const cache = new ScaleCache([...sources])
  const virtual = new Map<number, { index: number; weights: Weight[] }>()
  const result: PlacedTensor[] = []
  for (const placed of tensors) {
    const { name, shape, size } = placed.tensor
    const isScales = name.endsWith(suffix) && isWeight(name.slice(0, -suffix.length))
    if (isScales || unused?.test(name)) continue
    const scales = isWeight(name) ? byName.get(name + suffix) : undefined
    const stored = sources[placed.file]
    if (!scales || !stored) {
      result.push(placed)
      continue
    }
    let source = virtual.get(placed.file)
    if (!source) {
      source = { index: sources.length, weights: [] }
      virtual.set(placed.file, source)
      sources.push(new DequantizingSource(stored, cache, source.weights, width))
    }
    const weight = weightOf(placed, scales, block)
    // Of an empty one nothing is read.
    if (size > 0) source.weights.push(weight)
    const tensor = Object.freeze({ name, dtype, shape, size: tensorBytes(dtype, shape) })
    // Two or four bytes come of each: a place in the file is the same place as many times as far on.
    result.push({ tensor, file: source.index, position: placed.position * width, padding: 0 })
  }
  for (const { weights } of virtual.values()) weights.sort((a, b) => a.placed.position - b.placed.position)
  return result
}

function weightOf(placed: PlacedTensor, scales: PlacedTensor, block: readonly number[] | undefined): Weight {
  const { name, shape } = placed.tensor
  const { dtype, shape: stored, size } = scales.tensor
  // Scales of fewer dimensions are those of the first ones; blocks are of the last ones.
  const missing = block ? 0 : Math.max(0, shape.length - stored.length)
  const sizes = [...stored, ...Array.from({ length: missing }, () => 1)]
  const steps = shape.map((length, i) => {
    const step = block?.[i - shape.length + block.length]
    return step ?? (sizes[i] === 1 ? Math.max(1, length) : 1)
  })
  const expected = shape.map((length, i) => Math.ceil(length / (steps[i] ?? 1)))
  const isFit = sizes.length === shape.length && sizes.every((length, i) => length === expected[i])
  const place = { tensor: name }
  if (!isFit || !SCALES[dtype]) {
    const shapes = block ? `[${expected.join(', ')}]` : 'one, or one a row'
    const what = `expected scales, ${shapes}, in F32, F16, BF16 or F8_E8M0 for a weight in FP8 [${shape.join(', ')}], found ${dtype} [${stored.join(', ')}]`
    throw new AprError('APR_BAD_INDEX', what, place)
  }
  if (size > MAX_SCALES_BYTES) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_SCALES_BYTES} bytes of scales, found ${size}`, place)
  }
  const strides = sizes.map((_, i) => sizes.slice(i + 1).reduce((product, length) => product * length, 1))
  return { placed, scales, cols: shape.at(-1) ?? 1, steps, strides }
}

/** Keeps the scales of the weight that was read last. */
class ScaleCache {
  readonly #sources: readonly ByteSource[]
  #weight: Weight | undefined
  #scales: Promise<Float32Array> | undefined

  constructor(sources: readonly ByteSource[]) {
    this.#sources = sources
  }

  async of(weight: Weight): Promise<Float32Array> {
    if (this.#weight === weight && this.#scales) return await this.#scales
    this.#weight = weight
    this.#scales = this.#read(weight.scales)
    return await this.#scales
  }

  async #read({ tensor: { dtype, size, shape }, file, position }: PlacedTensor): Promise<Float32Array> {
    const bytes = new Uint8Array(size)
    await this.#sources[file]?.read(bytes, position)
    const view = new DataView(bytes.buffer)
    const length = shape.reduce((product, one) => product * one, 1)
    const read = SCALES[dtype]
    return Float32Array.from({ length }, (_, i) => read?.(view, i) ?? NaN)
  }
}

/** The weights of one file with `width` bytes each: byte `width * n` of it is made of byte `n` of the file. */
class DequantizingSource implements ByteSource {
  readonly name: string
  readonly size: number
  readonly #stored: ByteSource
  readonly #cache: ScaleCache
  readonly #weights: readonly Weight[]
  readonly #width: 2 | 4

  constructor(stored: ByteSource, cache: ScaleCache, weights: readonly Weight[], width: 2 | 4) {
    this.name = stored.name
    this.size = stored.size * width
    this.#stored = stored
    this.#cache = cache
    this.#weights = weights
    this.#width = width
  }

  async read(target: Uint8Array, position: number): Promise<void> {
    let done = 0
    while (done < target.length) {
      const at = (position + done) / this.#width
      const weight = this.#weightAt(at)
      const offset = at - weight.placed.position
      const elements = Math.min((target.length - done) / this.#width, weight.placed.tensor.size - offset)
      const bytes = elements * this.#width
      await this.#dequantize(weight, offset, target.subarray(done, done + bytes))
      done += bytes
    }
  }

  async close(): Promise<void> {
    // What it reads from is closed with the input.
  }

  #weightAt(position: number): Weight {
    let low = 0
    let high = this.#weights.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#weights[middle]?.placed.position ?? 0) <= position) low = middle
      else high = middle - 1
    }
    const weight = this.#weights[low]
    if (!weight) throw new Error('no weight at this place')
    return weight
  }

  async #dequantize(weight: Weight, first: number, target: Uint8Array): Promise<void> {
    const { placed, cols, steps } = weight
    const elements = target.length / this.#width
    // The codes wait at the end: what is written never overtakes what is read.
    const codes = target.subarray(target.length - elements)
    const multiply = this.#width === 2 ? multiplyToBf16 : multiplyToF32
    const [scales] = await Promise.all([this.#cache.of(weight), this.#stored.read(codes, placed.position + first)])
    const step = steps.at(-1) ?? 1
    for (let i = 0; i < elements;) {
      const row = Math.floor((first + i) / cols)
      const rowEnd = Math.min(elements, (row + 1) * cols - first)
      const rowScale = scaleOfRow(weight, row)
      while (i < rowEnd) {
        const block = Math.floor((first + i - row * cols) / step)
        const end = Math.min(rowEnd, row * cols + (block + 1) * step - first)
        const bad = multiply(codes, scales[rowScale + block] ?? NaN, target, i, end)
        if (bad >= 0) throw notFinite(placed.tensor, first + bad)
        i = end
      }
    }
  }
}

/** Where the scales of a row start: a row is what the last dimension runs through. */
function scaleOfRow({ placed, steps, strides }: Weight, row: number): number {
  const { shape } = placed.tensor
  let rest = row
  let scale = 0
  for (let i = shape.length - 2; i >= 0; i--) {
    const length = shape[i] ?? 1
    scale += Math.floor((rest % length) / (steps[i] ?? 1)) * (strides[i] ?? 0)
    rest = Math.floor(rest / length)
  }
  return scale
}

const f32 = new Float32Array(1)
const bits = new Uint32Array(f32.buffer)

/** Makes the elements from `start` to `end`; gives the first that is not finite, or -1. */
function multiplyToBf16(codes: Uint8Array, scale: number, target: Uint8Array, start: number, end: number): number {
  for (let i = start; i < end; i++) {
    f32[0] = (VALUES[codes[i] ?? 0] ?? 0) * scale
    const value = bits[0] ?? 0
    const rounded = (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
    if ((value & 0x7f80_0000) === 0x7f80_0000 || (rounded & 0x7f80) === 0x7f80) return i
    target[2 * i] = rounded
    target[2 * i + 1] = rounded >>> 8
  }
  return -1
}

/** The same in F32. */
function multiplyToF32(codes: Uint8Array, scale: number, target: Uint8Array, start: number, end: number): number {
  for (let i = start; i < end; i++) {
    f32[0] = (VALUES[codes[i] ?? 0] ?? 0) * scale
    const value = bits[0] ?? 0
    if ((value & 0x7f80_0000) === 0x7f80_0000) return i
    target[4 * i] = value
    target[4 * i + 1] = value >>> 8
    target[4 * i + 2] = value >>> 16
    target[4 * i + 3] = value >>> 24
  }
  return -1
}

function notFinite({ name }: TensorInfo, element: number): AprError {
  const what = 'expected finite numbers, found none as the product of weight and scale'
  return new AprError('APR_BAD_VALUE', what, { tensor: name, element })
}
