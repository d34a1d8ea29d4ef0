/** Random models and edits for property tests, and what becomes of them, computed the plain way: tensor by tensor. */
import fc from 'fast-check'
import { Transform } from 'node:stream'
import { filterTensors, mapMetadata, mapTensors, type DType, type TensorInfo, type TensorRecord } from 'apr-stream'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import type { Fit } from '../../dist/quant/kernel.js'
import { DTYPE_IDS } from './apr-file.js'
import { arbitraryTensor, f32Bytes, FLAG_QUANTIZED, FLAG_ROW_MAJOR, modelBytes, valuesOf } from './files.js'
import type { StoredTensor } from './files.js'

type Metadata = Readonly<Record<string, unknown>>

export interface RandomModel {
  readonly tensors: readonly RandomTensor[]
  readonly metadata: Metadata
  readonly flags: number
}

/** A tensor, and where it is large the rows that it repeats: its arithmetic is that of these. */
export interface RandomTensor extends StoredTensor {
  readonly repeated?: { readonly rows: StoredTensor; readonly count: number }
}

export interface Policy {
  readonly fit: Fit
  readonly kept: 'auto' | 'same' | 'f32'
}

/** What a stage between reader and writer does: to a model here, to a stream there. */
export interface Edit {
  readonly what: string
  /** The tensor as it becomes, undefined where it is dropped. */
  readonly tensor: (tensor: TensorInfo) => TensorInfo | undefined
  readonly metadata: (metadata: Metadata) => Record<string, unknown>
}

const DTYPES = Object.keys(DTYPE_IDS) as DType[]
const FLOATS: readonly DType[] = ['F32', 'F16', 'BF16', 'F64', 'APR_Q4', 'APR_Q8']
const TIED_NAMES = ['lm_head.weight', 'output.weight']
const MAX_ELEMENTS = 12_000

export const policy: fc.Arbitrary<Policy> = fc.record({
  fit: fc.constantFrom('search', 'minmax'),
  kept: fc.constantFrom('auto', 'same', 'f32'),
})

const dimension = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0, 1, 2, 3, 16, 31, 32, 33, 64) },
  { weight: 3, arbitrary: fc.constantFrom(255, 256, 257, 512, 600) },
  { weight: 1, arbitrary: fc.nat(1000) },
)

/** Of at most so many elements: dimensions that are too much become 1. */
const shape = fc.array(dimension, { maxLength: 4 }).map((dimensions) => {
  let elements = 1
  return dimensions.map((n) => {
    const fits = elements * n <= MAX_ELEMENTS
    if (fits && n > 0) elements *= n
    return fits ? n : 1
  })
})

const plainTensor = fc
  .record({
    stem: fc.constantFrom('w', 'norm', 'a.bias', 'embed', 'token_embd', 'é', '\u{1f600}', ''),
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.oneof(shape, fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 600 }))),
    seed: fc.nat(),
    isFlat: fc.boolean(),
  })
  .map(({ stem, dtype, shape, seed, isFlat }): StoredTensor => {
    // As older files hold a matrix of a K-quant.
    const isCutFlat = isFlat && (dtype === 'Q4_K' || dtype === 'Q6_K')
    return { ...arbitraryTensor(stem, dtype, isCutFlat ? [elementCount(shape)] : shape, seed), shape }
  })

const tiedTensor = fc
  .record({ name: fc.constantFrom(...TIED_NAMES), dtype: fc.constantFrom(...DTYPES), shape })
  .filter((tensor) => elementCount(tensor.shape) > 0)
  .map((tensor): StoredTensor => ({ ...tensor, size: 0, bytes: new Uint8Array(0) }))

const metadata = fc
  .record(
    {
      name: fc.constant('m'),
      // As it is for the tensors, or wrong.
      param_count: fc.constantFrom('right', 5, null),
      quantization: fc.constant({ quant_type: 'other' }),
      original_format: fc.constantFrom(null, 'safetensors'),
      total_size: fc.constant(7),
    },
    { requiredKeys: [] },
  )
  .map(({ name, ...rest }) => (name === undefined ? rest : { ...rest, name }))

/** @param large for a tensor to have among the others, if there is to be one */
export function randomModel(large?: fc.Arbitrary<RandomTensor>): fc.Arbitrary<RandomModel> {
  return fc
    .record({
      large: large ?? fc.constant(undefined),
      plain: fc.array(plainTensor, { minLength: 1, maxLength: 6 }),
      tied: fc.option(tiedTensor, { freq: 3, nil: undefined }),
      metadata,
      flags: fc.constantFrom(FLAG_ROW_MAJOR, FLAG_ROW_MAJOR | FLAG_QUANTIZED, 0),
    })
    .map(({ large, plain, tied, metadata, flags }): RandomModel => {
      const named = plain.map((tensor, i) => ({ ...tensor, name: `${tensor.name}.${i}` }))
      const tensors = [...named, ...(tied ? [tied] : []), ...(large ? [large] : [])]
      const isRight = 'param_count' in metadata && metadata.param_count === 'right'
      return { tensors, flags, metadata: isRight ? { ...metadata, param_count: countOf(tensors) } : metadata }
    })
}

/** A matrix of at least so many elements, in one of the dtypes that are converted. */
export function largeTensor(minElements: number): fc.Arbitrary<RandomTensor> {
  const fields = {
    name: fc.constantFrom('large.weight', 'large.norm'),
    dtype: fc.constantFrom('F16' as const, 'BF16' as const, 'APR_Q4' as const, 'APR_Q8' as const),
    cols: fc.constantFrom(256, 300, 1024),
    seed: fc.nat(),
  }
  return fc.record(fields).map(({ name, dtype, cols, seed }) => {
    const rows = arbitraryTensor(name, dtype, [32, cols], seed)
    const count = Math.ceil(minElements / (32 * cols))
    const head = dtype === 'APR_Q8' ? 4 : 0
    const body = rows.bytes.subarray(head)
    const bytes = Buffer.concat([rows.bytes.subarray(0, head), ...Array.from({ length: count }, () => body)])
    return { ...rows, shape: [32 * count, cols], size: bytes.length, bytes, repeated: { rows, count } }
  })
}

/** The canonical file of a model. */
export function fileOf({ tensors, metadata, flags }: RandomModel): Buffer {
  return modelBytes({ tensors, flags, metadata: JSON.stringify(metadata) })
}

/** What an edit makes of a model. */
export function edited(model: RandomModel, { tensor: change, metadata }: Edit): RandomModel {
  const tensors = model.tensors.flatMap((tensor) => {
    const changed = change(tensor)
    return changed ? [{ ...tensor, ...changed }] : []
  })
  const count = countOf(tensors)
  const isTold = 'param_count' in model.metadata && count !== countOf(model.tensors)
  const told = isTold ? { ...model.metadata, param_count: count } : model.metadata
  const all = Object.entries({ ...told, ...metadata(told) })
  return { ...model, tensors, metadata: Object.fromEntries(all.filter(([, value]) => value !== undefined)) }
}

/** What quantization makes of a model, by the default rule. */
export function quantizedModel({ tensors, metadata, flags }: RandomModel, policy: Policy): RandomModel {
  const isAny = tensors.some(isSelected)
  const count = countOf(tensors)
  return {
    tensors: tensors.map((tensor) => convert(tensor, policy)),
    flags: flags | FLAG_ROW_MAJOR | (isAny ? FLAG_QUANTIZED : 0),
    metadata: isAny
      ? {
          ...metadata,
          quantization: { quant_type: 'q4_k', bits: 4, block_size: 256, symmetric: false },
          param_count: count,
          total_size: 0,
          original_format: metadata['original_format'] ?? 'apr',
        }
      : metadata,
  }
}

/** The stage of the package that makes this edit. */
export function announced({ tensor, metadata }: Edit): unknown[] {
  const change = (before: TensorInfo): Pick<TensorInfo, 'name' | 'dtype' | 'shape'> => {
    const { name, dtype, shape } = tensor(before) ?? before
    return { name, dtype, shape }
  }
  return [filterTensors((before) => tensor(before) !== undefined), mapTensors(change), mapMetadata(metadata)]
}

/** A plain Transform that makes this edit of tensors, and leaves the model as it is. */
export function unannounced({ tensor }: Edit): Transform {
  return new Transform({
    objectMode: true,
    highWaterMark: 1,
    transform(record: TensorRecord, _encoding, done) {
      const { name, dtype, shape, size } = record
      const changed = tensor({ name, dtype, shape, size })
      if (changed === undefined) done()
      else done(null, { ...record, ...changed })
    },
  })
}

/** Edits of tensors, the same for a tensor every time: that depends on nothing but what it is. */
export const tensorEdit: fc.Arbitrary<Edit> = fc
  .record({
    kind: fc.constantFrom('drop', 'rename', 'reshape', 'retype'),
    salt: fc.nat(1000),
    parts: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ kind, salt, parts }): Edit => {
    const changes: Record<typeof kind, (tensor: TensorInfo) => TensorInfo | undefined> = {
      drop: () => undefined,
      rename: (tensor) =>
        tensor.size === 0 ? tensor : { ...tensor, name: `${salt % 2 ? 'z.' : ''}${tensor.name}.norm` },
      reshape: (tensor) => ({ ...tensor, shape: reshaped(tensor, salt) }),
      retype: (tensor) => ({ ...tensor, dtype: RETYPED[tensor.dtype] ?? tensor.dtype }),
    }
    const takes = ({ name, shape }: TensorInfo): boolean =>
      !name.startsWith('large') &&
      !TIED_NAMES.includes(name) &&
      (name.length + elementCount(shape) + salt) % parts === 0
    return {
      what: `${kind} ${salt} ${parts}`,
      tensor: (tensor) => (takes(tensor) ? changes[kind](tensor) : tensor),
      metadata: () => ({}),
    }
  })

/** Edits of metadata that look at what stands there. */
export const metadataEdit: fc.Arbitrary<Edit> = fc.nat(2).map((key) => ({
  what: `note ${key}`,
  tensor: (tensor) => tensor,
  metadata: ({ param_count: count, quantization }) => ({
    [`note${key}`]: [count ?? null, quantization ?? null],
    ...(key === 0 && { name: undefined }),
  }),
}))

/** Other dtypes of as many bytes. */
const RETYPED: Partial<Record<DType, DType>> = { F32: 'I32', F64: 'I64', U8: 'I8', I8: 'U8', F16: 'BF16' }

function reshaped({ dtype, shape }: TensorInfo, salt: number): readonly number[] {
  const elements = elementCount(shape)
  // A matrix of a K-quant has its rows padded.
  if (dtype === 'Q4_K' || dtype === 'Q6_K') return shape
  if (salt % 2 === 0 && elements % 256 === 0) return [elements / 256, 256]
  return [elements]
}

function convert(tensor: RandomTensor, { fit, kept }: Policy): RandomTensor {
  const { dtype } = tensor
  const stays = kept === 'same' || dtype === 'F32' || (kept === 'auto' && dtype === 'F16')
  if (isTied(tensor) || !FLOATS.includes(dtype) || (!isSelected(tensor) && stays)) return tensor
  const { rows, count } = tensor.repeated ?? { rows: tensor, count: 1 }
  const part = isSelected(tensor) ? q4kBytes(rows, fit) : f32Bytes(valuesOf(rows))
  const bytes = Buffer.concat(Array.from({ length: count }, () => part))
  const { name, shape } = tensor
  return { name, shape, dtype: isSelected(tensor) ? 'Q4_K' : 'F32', size: bytes.length, bytes }
}

/** Row by row, or flat, each padded with zeros to whole super-blocks. */
function q4kBytes(tensor: StoredTensor, fit: Fit): Buffer {
  const values = valuesOf(tensor)
  const [, cols = 0] = tensor.shape
  const rowElements = tensor.shape.length === 2 ? cols : values.length
  const kernel = createScalarKernel(1)
  const blocks: Buffer[] = []
  for (let row = 0; row < values.length; row += rowElements) {
    for (let start = row; start < row + rowElements; start += 256) {
      kernel.input.fill(0)
      kernel.input.set(values.subarray(start, Math.min(start + 256, row + rowElements)))
      kernel.fit({ dtype: 'Q4_K', fit }, 1)
      blocks.push(Buffer.from(kernel.output.subarray(0, 144)))
    }
  }
  return Buffer.concat(blocks)
}

function isSelected(tensor: TensorInfo): boolean {
  const { name, dtype, shape } = tensor
  if (isTied(tensor) || !FLOATS.includes(dtype) || shape.length < 2 || elementCount(shape) < 256) return false
  return !['bias', 'norm', 'scale', 'embed', 'embd'].some((part) => name.includes(part))
}

function isTied({ name, size, shape }: TensorInfo): boolean {
  return TIED_NAMES.includes(name) && size === 0 && elementCount(shape) > 0
}

function countOf(tensors: readonly TensorInfo[]): number {
  return tensors.reduce((sum, tensor) => sum + (isTied(tensor) ? 0 : elementCount(tensor.shape)), 0)
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1)
}
