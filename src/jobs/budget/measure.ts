/** How large the errors of a tensor's rows are in each of several dtypes: of a sample, the same for the same tensor. */
import { AprError, checkNotAborted } from '../../model/errors.js'
import { columnsOf, matricesOf, rowsOf, type TensorInfo } from '../../model/tensor.js'
import type { BlockDType } from '../../quant/block.js'
import { decodeElements } from '../../quant/decode.js'
import type { Fit } from '../../quant/kernel.js'
import type { MatrixImportance } from '../../streams/quantize/quantization.js'
import type { Executor } from '../../threads/executor.js'
import type { ModelWeights } from '../imatrix/read-weights.js'

/** Rows that are read at once; one of so many is looked at, and of a tensor so many at the least. */
const GROUP_ROWS = 4
const SHARE = 16
const LEAST_ROWS = 32

/** Groups that are being read at the same time: small reads wait long for a disk. */
const READS = 8

/** Super-blocks whose greatest weight is below this lose bits of their scales in Q6_K. */
const FAINT = 1.2e-4

/** What is asked of a tensor. */
export interface Question {
  readonly tensor: TensorInfo
  readonly dtypes: readonly BlockDType[]
  readonly fit: Fit
  readonly importance: MatrixImportance | undefined
}

/** Relative squared errors, weighted by importance where there is one, by dtype. */
export interface Errors {
  readonly byDType: ReadonlyMap<BlockDType, number>
  /** Whether the weights of some super-block are too small for Q6_K. */
  readonly isFaint: boolean
}

/**
 * @throws AprError `APR_BAD_VALUE` for weights that are not finite, and for such as a dtype cannot hold
 */
export async function measureErrors(
  { tensor, dtypes, fit, importance }: Question,
  weights: ModelWeights,
  executor: Executor,
  signal: AbortSignal | undefined,
): Promise<Errors> {
  const errors = new Map<BlockDType, number>(dtypes.map((dtype) => [dtype, 0]))
  let all = 0
  let isFaint = false
  const groups = sampledRows(tensor)
  const reads: Promise<Float32Array>[] = []
  for (const [i, { first }] of groups.entries()) {
    checkNotAborted(signal)
    while (reads.length < READS && i + reads.length < groups.length) {
      const next = groups[i + reads.length]
      const read = weights.rows(tensor, next?.first ?? 0, next?.count ?? 0)
      // Its failure is told when its turn comes.
      read.catch(() => undefined)
      reads.push(read)
    }
    const values = await reads.shift()
    if (!values) throw new Error('a group of rows was not asked for')
    const counts = importance && (await importance.read(Math.floor(first / rowsOf(tensor)), 1))
    all += squares(values, counts)
    isFaint ||= hasFaintBlock(values)
    const found = await Promise.all(
      dtypes.map((dtype) =>
        squaredError(values, counts, { tensor: tensor.name, columns: columnsOf(tensor), dtype, fit, executor }),
      ),
    )
    dtypes.forEach((dtype, i) => errors.set(dtype, (errors.get(dtype) ?? 0) + (found[i] ?? 0)))
  }
  return { byDType: new Map([...errors].map(([dtype, sum]) => [dtype, all > 0 ? sum / all : 0])), isFaint }
}

/** Groups of rows, spread over all matrices of a tensor. No group is of two matrices. */
export function sampledRows(tensor: TensorInfo): { first: number; count: number }[] {
  const inMatrix = rowsOf(tensor)
  const rows = matricesOf(tensor) * inMatrix
  const wanted = Math.max(LEAST_ROWS, Math.ceil(rows / SHARE))
  const groups = Math.min(Math.ceil(rows / GROUP_ROWS), Math.ceil(wanted / GROUP_ROWS))
  return Array.from({ length: groups }, (_, i) => {
    const first = Math.floor((i * rows) / groups)
    const toNext = Math.floor(((i + 1) * rows) / groups) - first
    const toEnd = inMatrix - (first % inMatrix)
    return { first, count: Math.min(GROUP_ROWS, toEnd, toNext) }
  })
}

interface Fitting {
  readonly tensor: string
  readonly columns: number
  readonly dtype: BlockDType
  readonly fit: Fit
  readonly executor: Executor
}

async function squaredError(
  values: Float32Array,
  counts: Float32Array | undefined,
  { tensor, columns, dtype, fit, executor }: Fitting,
): Promise<number> {
  // No record's memory: nobody overwrites it.
  const data = new Uint8Array(values.buffer)
  const importance = counts && { values: counts, matrixElements: values.length, inMatrix: 0 }
  const run = {
    dtype: 'F32',
    data,
    elements: values.length,
    rowElements: columns,
    ...(importance && { importance }),
  } as const
  const result = await executor.perform({ run, to: { dtype, fit }, data, tensor })
  if (!('data' in result)) {
    const what = `expected weights that ${dtype} can hold, found others among those that were looked at`
    throw new AprError('APR_BAD_VALUE', what, { tensor })
  }
  const decoded = new Float32Array(values.length)
  decodeElements({ dtype, data: result.data, first: 0, count: values.length }, decoded, 0)
  for (let i = 0; i < decoded.length; i++) decoded[i] = (values[i] as number) - (decoded[i] as number)
  return squares(decoded, counts)
}

/** Sum of squares, each times what its column counts. */
function squares(values: Float32Array, counts: Float32Array | undefined): number {
  let sum = 0
  const width = counts?.length ?? 1
  for (let i = 0, column = 0; i < values.length; i++) {
    const value = values[i] as number
    sum += value * value * (counts ? (counts[column] as number) : 1)
    if (++column === width) column = 0
  }
  return sum
}

function hasFaintBlock(values: Float32Array): boolean {
  for (let start = 0; start + 256 <= values.length; start += 256) {
    let greatest = 0
    for (let i = start; i < start + 256; i++) greatest = Math.max(greatest, Math.abs(values[i] as number))
    if (greatest > 0 && greatest < FAINT) return true
  }
  return false
}
