/** Random small models as llama.cpp has them, with importance, and what a recipe makes of a tensor, computed the plain way. */
import { arrayKv, dequantize, kv, type DType } from 'apr-stream'
import { DTYPES } from '../../dist/model/dtypes.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { isBlockDType } from '../../dist/quant/runs/run.js'
import { fitBlocks } from './blocks.js'
import { buildGguf } from './gguf-file.js'
import { randomBits } from './random.js'

export interface LlamaTensor {
  readonly name: string
  readonly dtype: DType
  /** Slowest first; rows last. */
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
  /** Of each of its matrices a row, one after the other; undefined where the importance matrix does not tell of it. */
  readonly importance: Float32Array | undefined
}

export interface RandomLlama {
  readonly tensors: readonly LlamaTensor[]
  /** The GGUF file, and that of the importance matrix. */
  readonly file: Buffer
  readonly matrix: Buffer
}

const WIDTHS = [64, 96, 256, 288, 512]
const FLOATS: readonly DType[] = ['F32', 'F16', 'BF16']
const BLOCKS: readonly DType[] = ['Q8_0', 'Q4_0', 'Q5_1', 'IQ4_NL', 'Q6_K', 'Q4_K', 'Q2_K']
const kernel = createScalarKernel(64)

/** The same for the same seed. */
export function randomLlama(seed: number): RandomLlama {
  const bits = randomBits(seed)
  const below = (count: number): number => Math.floor((bits() / 2 ** 32) * count)
  const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T
  const [width, inner, experts, blocks] = [pick(WIDTHS), pick(WIDTHS), below(2) * (2 + below(2)), 1 + below(2)]
  const float = pick(FLOATS)

  const tensor = (name: string, shape: readonly number[]): LlamaTensor => {
    const count = shape.reduce((product, one) => product * one, 1)
    const values = Float32Array.from({ length: count }, () => (bits() / 2 ** 32 - 0.5) * (bits() / 2 ** 31))
    const rowElements = shape.at(-1) ?? 1
    const fitting = BLOCKS.filter((one) => rowElements % DTYPES[one].blockElements === 0)
    const dtype = shape.length === 1 ? 'F32' : below(4) === 0 && fitting.length > 0 ? pick(fitting) : float
    const matrices = shape.length === 3 ? (shape[0] ?? 1) : 1
    const importance =
      shape.length > 1 && below(4) > 0
        ? Float32Array.from({ length: matrices * rowElements }, () => (below(9) === 0 ? 0 : bits() / 2 ** 30))
        : undefined
    return { name, dtype, shape, bytes: encode(dtype, values), importance }
  }
  const layer = (n: number): LlamaTensor[] => [
    tensor(`blk.${n}.attn_norm.weight`, [width]),
    ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((kind) => tensor(`blk.${n}.${kind}.weight`, [width, width])),
    ...['ffn_gate', 'ffn_up', 'ffn_down'].map((kind) => {
      const matrix = kind === 'ffn_down' ? [width, inner] : [inner, width]
      return experts > 0
        ? tensor(`blk.${n}.${kind}_exps.weight`, [experts, ...matrix])
        : tensor(`blk.${n}.${kind}.weight`, matrix)
    }),
  ]
  const tensors = [
    tensor('token_embd.weight', [40, width]),
    ...Array.from({ length: blocks }, (_, n) => layer(n)).flat(),
    tensor('output_norm.weight', [width]),
    ...(below(2) === 0 ? [tensor('output.weight', [40, width])] : []),
  ]
  return { tensors, file: modelFile(tensors, blocks, experts), matrix: matrixFile(tensors) }
}

/**
 * A model of so much work that two threads start: matrices of experts in F16 whose rows repeat, with importance. Recipes of
 * super-blocks and of blocks of 32 both cut it between records that the threads take by turns.
 */
export function largeLlama(): RandomLlama {
  const bits = randomBits(5)
  const tile = encode(
    'F16',
    Float32Array.from({ length: 2 ** 17 }, () => bits() / 2 ** 32 - 0.5),
  )
  const tensor = (name: string, shape: readonly number[]): LlamaTensor => {
    const count = shape.reduce((product, one) => product * one, 1)
    const bytes = Buffer.concat(Array.from({ length: (count * 2) / tile.length }, () => tile))
    const values = (shape[0] ?? 1) * (shape.at(-1) ?? 1)
    const importance = Float32Array.from({ length: values }, () => bits() / 2 ** 30)
    return { name, dtype: 'F16', shape, bytes, importance }
  }
  const kinds = { ffn_up_exps: [4, 2048, 512], ffn_down_exps: [4, 512, 2048], ffn_gate_exps: [4, 1024, 1024] }
  const tensors = Object.entries(kinds).map(([kind, shape]) => tensor(`blk.0.${kind}.weight`, shape))
  return { tensors, file: modelFile(tensors, 1, 4), matrix: matrixFile(tensors) }
}

function modelFile(tensors: readonly LlamaTensor[], blocks: number, experts: number): Buffer {
  return buildGguf({
    kvs: [
      kv('general.architecture', 'string', 'llama'),
      kv('llama.block_count', 'u32', blocks),
      kv('llama.attention.head_count', 'u32', 4),
      kv('llama.attention.head_count_kv', 'u32', 2),
      ...(experts > 0 ? [kv('llama.expert_count', 'u32', experts)] : []),
    ],
    tensors: tensors.map(({ name, dtype, shape, bytes }) => {
      return { name, dtype, dims: [...shape].reverse(), data: Buffer.from(bytes) }
    }),
  })
}

/** Sums over two calls: a row of a matrix is half of them. */
function matrixFile(tensors: readonly LlamaTensor[]): Buffer {
  const float = (values: Float32Array): Buffer => Buffer.from(values.buffer)
  return buildGguf({
    kvs: [
      kv('general.type', 'string', 'imatrix'),
      arrayKv('imatrix.datasets', 'string', ['random.txt']),
      kv('imatrix.chunk_count', 'u32', 3),
      kv('imatrix.chunk_size', 'u32', 512),
    ],
    tensors: tensors.flatMap(({ name, shape, importance }) => {
      if (!importance) return []
      const matrices = shape.length === 3 ? (shape[0] ?? 1) : 1
      return [
        {
          name: `${name}.in_sum2`,
          dims: [importance.length / matrices, matrices],
          data: float(importance.map((value) => value * 2)),
        },
        { name: `${name}.counts`, dims: [1, matrices], data: float(new Float32Array(matrices).fill(2)) },
      ]
    }),
  })
}

/** What a tensor's bytes become in another dtype. @param isWeighted whether its importance counts */
export function converted(tensor: LlamaTensor, dtype: DType, isWeighted: boolean): Uint8Array {
  if (dtype === tensor.dtype) return tensor.bytes
  const values = dequantize(tensor.dtype, tensor.bytes)
  const { importance, shape } = tensor
  if (!isWeighted || !importance) return encode(dtype, values)
  const matrices = shape.length === 3 ? (shape[0] ?? 1) : 1
  const part = (all: Float32Array, n: number): Float32Array =>
    all.slice((all.length / matrices) * n, (all.length / matrices) * (n + 1))
  return Buffer.concat(Array.from({ length: matrices }, (_, n) => encode(dtype, part(values, n), part(importance, n))))
}

/** Rows of whole blocks in a dtype. */
function encode(dtype: DType, values: Float32Array, importance?: Float32Array): Uint8Array {
  if (isBlockDType(dtype)) return fitBlocks(dtype, values, kernel, { importance })
  const bytes = new Uint8Array(values.length * DTYPES[dtype].blockBytes)
  for (let first = 0; first < values.length; first += kernel.input.length) {
    const part = values.subarray(first, first + kernel.input.length)
    kernel.input.set(part)
    const target = bytes.subarray(first * DTYPES[dtype].blockBytes)
    if (kernel.narrow(dtype as 'F32' | 'F16' | 'BF16', part.length, target) >= 0) throw new Error('not finite')
  }
  return bytes
}
