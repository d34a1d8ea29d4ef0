/**
 * Weights in FP8 with a scale for each block of 128 x 128, as DeepSeek and Qwen publish them, read as BF16: the product of
 * weight and scale in f32, rounded to nearest even, as llama.cpp's converter has it.
 */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import { tensorBytes, type TensorInfo } from '../../model/tensor.js'
import type { PlacedTensor } from '../format.js'

const SCALE_SUFFIX = '_scale_inv'
const DEFAULT_BLOCK = [128, 128]

/** The values of the 256 codes of F8_E4M3: sign, four bits of exponent (bias 7), three of mantissa; 0x7f and 0xff are NaN. */
const VALUES = Float32Array.from({ length: 256 }, (_, code) => {
  const exponent = (code >> 3) & 15
  const mantissa = code & 7
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10)
  return (code & 0x7f) === 0x7f ? NaN : code > 127 ? -magnitude : magnitude
})

/** A weight in FP8, and its scales. */
interface Weight {
  readonly placed: PlacedTensor
  readonly scales: PlacedTensor
  readonly cols: number
  /** Of a block that has one scale. */
  readonly blockRows: number
  readonly blockCols: number
  /** Scales in a row of blocks. */
  readonly scaleCols: number
}

/**
 * The same tensors with the weights in FP8 as BF16, and without their scales.
 * @param config the model's `config.json`, parsed
 * @param sources those of the tensors; the ones that dequantize are added
 * @throws AprError `APR_BAD_INDEX` for scales that do not fit their weight
 */
export function dequantized(tensors: readonly PlacedTensor[], config: unknown, sources: ByteSource[]): PlacedTensor[] {
  const quantization = isFields(config) ? config['quantization_config'] : undefined
  const method = isFields(quantization) ? quantization['quant_method'] : undefined
  if (method !== 'fp8' || !isFields(quantization)) return [...tensors]
  const block = blockSize(quantization['weight_block_size'])
  const byName = new Map(tensors.map((placed) => [placed.tensor.name, placed]))
  const virtual = new Map<number, { index: number; weights: Weight[] }>()
  const result: PlacedTensor[] = []
  for (const placed of tensors) {
    const { name, dtype, shape } = placed.tensor
    const weight = name.endsWith(SCALE_SUFFIX) ? byName.get(name.slice(0, -SCALE_SUFFIX.length)) : undefined
    // A scale of a weight that is dequantized, or of activations, which no weight needs.
    if (weight?.tensor.dtype === 'F8_E4M3' || /[._]activation_scale$/.test(name)) continue
    const scales = dtype === 'F8_E4M3' ? byName.get(name + SCALE_SUFFIX) : undefined
    if (!scales) {
      result.push(placed)
      continue
    }
    let source = virtual.get(placed.file)
    if (!source) {
      source = { index: sources.length, weights: [] }
      virtual.set(placed.file, source)
      const stored = sources[placed.file]
      if (stored) sources.push(new DequantizingSource(stored, sources, source.weights))
    }
    source.weights.push(weightOf(placed, scales, block))
    const tensor = Object.freeze({ name, dtype: 'BF16' as const, shape, size: tensorBytes('BF16', shape) })
    // Two bytes come of each: a place in the file is the same place twice as far on.
    result.push({ tensor, file: source.index, position: placed.position * 2, padding: 0 })
  }
  for (const { weights } of virtual.values()) weights.sort((a, b) => a.placed.position - b.placed.position)
  return result
}

function blockSize(value: unknown): readonly [number, number] {
  const [rows, cols, ...rest] = (value ?? DEFAULT_BLOCK) as unknown[]
  const isSize = (size: unknown): size is number => Number.isSafeInteger(size) && Number(size) > 0
  if (isSize(rows) && isSize(cols) && rest.length === 0) return [rows, cols]
  throw new AprError(
    'APR_UNSUPPORTED',
    'expected weight_block_size to be two numbers of rows and columns, found others',
  )
}

function weightOf(
  placed: PlacedTensor,
  scales: PlacedTensor,
  [blockRows, blockCols]: readonly [number, number],
): Weight {
  const { name, shape } = placed.tensor
  const [rows = 0, cols = 0] = shape
  const scaleCols = Math.ceil(cols / blockCols)
  const expected = [Math.ceil(rows / blockRows), scaleCols]
  const isFit = shape.length === 2 && scales.tensor.shape.join() === expected.join() && scales.tensor.dtype === 'F32'
  if (!isFit) {
    const found = `${scales.tensor.dtype} [${scales.tensor.shape.join(', ')}]`
    const what = `expected scales F32 [${expected.join(', ')}] for a matrix in FP8 [${shape.join(', ')}], found ${found}`
    throw new AprError('APR_BAD_INDEX', what, { tensor: name })
  }
  return { placed, scales, cols, blockRows, blockCols, scaleCols }
}

/** The weights of one file as they are in BF16: byte `2 n` of it is made of byte `n` of the file. */
class DequantizingSource implements ByteSource {
  readonly name: string
  readonly size: number
  readonly #stored: ByteSource
  readonly #sources: readonly ByteSource[]
  readonly #weights: readonly Weight[]

  constructor(stored: ByteSource, sources: readonly ByteSource[], weights: readonly Weight[]) {
    this.name = stored.name
    this.size = stored.size * 2
    this.#stored = stored
    this.#sources = sources
    this.#weights = weights
  }

  async read(target: Uint8Array, position: number): Promise<void> {
    let done = 0
    while (done < target.length) {
      const at = (position + done) / 2
      const weight = this.#weightAt(at)
      const offset = at - weight.placed.position
      const elements = Math.min((target.length - done) / 2, weight.placed.tensor.size - offset)
      await this.#dequantize(weight, offset, target.subarray(done, done + elements * 2))
      done += elements * 2
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
    const { placed, cols, blockRows, blockCols } = weight
    const elements = target.length / 2
    // The codes wait in the second half: what is written never overtakes what is read.
    const codes = target.subarray(elements)
    const firstRow = Math.floor(first / cols)
    const lastRow = Math.floor((first + elements - 1) / cols)
    const [scales] = await Promise.all([
      this.#scales(weight, Math.floor(firstRow / blockRows), Math.floor(lastRow / blockRows)),
      this.#stored.read(codes, placed.position + first),
    ])
    const f32 = new Float32Array(1)
    const bits = new Uint32Array(f32.buffer)
    for (let i = 0; i < elements;) {
      const row = Math.floor((first + i) / cols)
      const col = first + i - row * cols
      const block = Math.floor(col / blockCols)
      const scaleRow = Math.floor(row / blockRows) - Math.floor(firstRow / blockRows)
      const scale = scales[scaleRow * weight.scaleCols + block] ?? NaN
      const end = Math.min(elements, i + Math.min(cols, (block + 1) * blockCols) - col)
      for (; i < end; i++) {
        f32[0] = (VALUES[codes[i] ?? 0] ?? 0) * scale
        const value = bits[0] ?? 0
        if ((value & 0x7f80_0000) === 0x7f80_0000) throw notFinite(placed.tensor, first + i, f32[0])
        const rounded = (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
        target[2 * i] = rounded
        target[2 * i + 1] = rounded >>> 8
      }
    }
  }

  async #scales({ scales, scaleCols }: Weight, firstRow: number, lastRow: number): Promise<Float32Array> {
    const bytes = new Uint8Array((lastRow - firstRow + 1) * scaleCols * 4)
    await this.#sources[scales.file]?.read(bytes, scales.position + firstRow * scaleCols * 4)
    const view = new DataView(bytes.buffer)
    return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(i * 4, true))
  }
}

function notFinite({ name }: TensorInfo, element: number, value: number): AprError {
  const what = `expected finite numbers, found ${value} as the product of weight and scale`
  return new AprError('APR_BAD_VALUE', what, { tensor: name, element, value })
}
