/** What of a job is likely to disappoint, as its plan and its report tell it. With `strict` that is an error. */
import { AprError, printable } from '../model/errors.js'
import type { TensorInfo } from '../model/tensor.js'
import { DTYPES } from '../model/dtypes.js'
import type { LostBlocks } from '../quant/runs/run.js'
import type { Model } from '../model/model.js'
import type { Select } from '../quant/policy.js'
import { isConverted, isQuantized, type Decision, type Quantization } from '../streams/quantize/quantization.js'

/** A rule that has something to say of a model as a whole: which of its patterns match no tensor. */
export interface WarningSelect extends Select {
  warningsFor: (tensors: readonly TensorInfo[]) => readonly string[]
}

/** In sentences. */
export function warningsFor(quantization: Quantization, model: Model, select: Select | undefined): string[] {
  const decisions = [...quantization.of(model).decisions.values()]
  const bySelect = select && 'warningsFor' in select ? (select as WarningSelect).warningsFor : () => []
  return [
    ...bySelect(decisions.map(({ from }) => from)),
    ...nothingQuantized(decisions),
    ...brokenEmbeddings(decisions),
    ...(quantization.warnings?.(model) ?? []),
  ]
}

/**
 * Ends a job that would disappoint, where its user wants that.
 * @throws AprError `APR_STRICT`
 */
export function refuseWarnings(warnings: readonly string[], file: string): void {
  if (warnings.length === 0) return
  const found = printable(warnings.join('; '), 2000)
  throw new AprError('APR_STRICT', `expected no warnings (\`strict\`), found ${warnings.length}: ${found}`, { file })
}

/** A few blocks of tiny values do no harm in a tensor whose others are larger. */
const HARMFUL_SHARE = 0.1

/** What a tensor has lost whose values are smaller than its dtype can scale. */
export function lossesOf({ name, dtype, size }: TensorInfo, { blocks, greatest }: LostBlocks): string[] {
  const all = size / DTYPES[dtype].blockBytes
  if (blocks < all * HARMFUL_SHARE) return []
  const what = `${blocks} of ${all} blocks became zeros or nearly so`
  return [
    `"${name}": ${what}, because their values, at most ${greatest.toPrecision(3)}, are smaller than ${dtype} can scale; a dtype of other blocks or F16 may keep them`,
  ]
}

function nothingQuantized(decisions: readonly Decision[]): string[] {
  // A recipe may be one that makes floats.
  const isDone = decisions.some((decision) => isQuantized(decision) || ('rule' in decision && isConverted(decision)))
  if (isDone) return []
  const counts = new Map<string, number>()
  for (const { reason } of decisions) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  const reasons = [...counts].map(([reason, count]) => `${reason} ${count}`).join(', ')
  return [`no tensor is quantized${reasons === '' ? '' : `; kept for these reasons: ${reasons}`}`]
}

/** A reader of the reference takes an embedding as one run of elements, and so misreads rows that are padded. */
function brokenEmbeddings(decisions: readonly Decision[]): string[] {
  const broken = decisions.filter(({ from, reason }) => {
    const [, cols = 0] = from.shape
    return reason === 'selected' && from.shape.length === 2 && /embe?d/.test(from.name) && cols % 256 !== 0
  })
  return broken.map(
    ({ from }) =>
      `the embedding "${from.name}" is quantized and its rows of ${from.shape[1]} are no multiple of 256: \`apr run\` misreads such a table; keep it unquantized`,
  )
}
