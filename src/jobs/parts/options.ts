/** What work in parts is asked for. */
import { AprError } from '../../model/errors.js'
import { checkOptions, type Checked, type OptionRow } from '../../options/check.js'
import { PARTS_JOB_OPTIONS, PARTS_PLAN_OPTIONS } from '../../options/parts-table.js'
import { selectAsApr, selectByDefault } from '../../quant/policy.js'
import { absolutePath } from '../../files/path.js'
import type { BlockReceipt } from '../../parts/blocks.js'
import type { ConvertOptions } from '../conversion/conversion.js'
import type { QuantizeOptions } from '../job.js'
import { checkChoices } from '../quantization.js'
import { selectByPatterns } from '../select-by-patterns.js'
import type { JobOptions } from './opened-job.js'

/** What decides the bytes and can be written down: a plan holds no functions. */
export interface PartsJobOptions
  extends
    Omit<
      QuantizeOptions,
      | (
          | 'select'
          | 'importance'
          | 'splitMaxBytes'
          | 'mode'
          | 'threshold'
          | 'resume'
          | 'spaceCheck'
          | 'strict'
          | 'overwrite'
          | 'report'
        )
      | ('threads' | 'recordBytes' | 'highWaterMark' | 'onProgress' | 'signal')
    >,
    Pick<ConvertOptions, 'outtype'> {
  /** Convert only, as `convert` does. Default false. */
  convert?: boolean | undefined
  /** Rule that says which tensors become Q4_K: the default one, or that of `apr quantize`. Default `default`. */
  select?: 'default' | 'apr' | undefined
  /** Globs: of what `select` takes, tensors whose name one of them matches. Default: all. */
  only?: readonly string[] | undefined
  /** Globs: tensors whose name one of them matches are not quantized. Default: none. */
  skip?: readonly string[] | undefined
}

export interface PartsPlanOptions extends PartsJobOptions {
  /** Size of a block, a multiple of 64 KiB. Default: 16 MiB, or more where there would be over 9,000 blocks. */
  blockBytes?: number | undefined
  /** Output of a unit of work, about. Default: 512 MiB, or more where there would be over 1,000 units. */
  unitBytes?: number | undefined
  /** Replace an existing output. Default false: an existing output is an error. */
  overwrite?: boolean | undefined
  /** Refuse to start where the disk has less room than the output takes. Default true. */
  spaceCheck?: boolean | undefined
  /** Refuse to start where the plan has warnings. Default false. */
  strict?: boolean | undefined
  /** Ends the work; the promise rejects with an `AbortError` whose `cause` is the signal's reason. */
  signal?: AbortSignal | undefined
}

export interface PartOptions {
  /** Worker threads at the most. Default: cores available. */
  threads?: number | undefined
  /** Called when a block is in its place. What it throws ends the part. */
  onProgress?: ((progress: PartProgress) => void) | undefined
  /** Ends the part; the promise rejects with an `AbortError` whose `cause` is the signal's reason. */
  signal?: AbortSignal | undefined
}

export interface FinishOptions extends Omit<PartOptions, 'threads'> {
  /** What the parts have given, where the output's place does not keep what was read. Default: none. */
  receipts?: readonly BlockReceipt[] | undefined
}

/** How far a unit of work is, or `finish`. */
export interface PartProgress {
  /** Blocks that are in their places, and in all. */
  readonly blocks: number
  readonly totalBlocks: number
  /** The same in bytes of the output. */
  readonly bytes: number
  readonly totalBytes: number
}

export type CheckedPlanOptions = Checked<PartsPlanOptions, typeof PARTS_PLAN_OPTIONS>

const OF_CONVERSIONS = ['convert', 'outtype', 'to', 'pre', 'config'] as const

/**
 * @throws AprError `APR_BAD_OPTION` for options that there are not, and that make no sense together
 */
export function checkPlanOptions(options: PartsPlanOptions): CheckedPlanOptions {
  if (typeof options === 'object' && 'importance' in options && options.importance !== undefined) {
    const what =
      'expected no `importance`, whose computing reads all weights, in every part; write it to a file with imatrix() or `apr-stream imatrix`, and give it as `imatrix`'
    throw new AprError('APR_BAD_OPTION', what)
  }
  const checked = checkOptions<PartsPlanOptions, typeof PARTS_PLAN_OPTIONS>(options, PARTS_PLAN_OPTIONS)
  const rows: [string, OptionRow][] = Object.entries(PARTS_JOB_OPTIONS)
  const given = rows.flatMap(([name, row]) => {
    const value = (checked as Readonly<Record<string, unknown>>)[name]
    return value === undefined || value === row.default ? [] : [name]
  })
  if (checked.convert) {
    const wrong = given.find((name) => !(OF_CONVERSIONS as readonly string[]).includes(name))
    if (wrong !== undefined)
      throw new AprError('APR_BAD_OPTION', `expected no \`${wrong}\` with \`convert\`, found both`)
  } else {
    if (given.includes('outtype')) throw new AprError('APR_BAD_OPTION', 'expected `convert` with `outtype`, found none')
    const wrong = given.find((name) => ['select', 'only', 'skip'].includes(name))
    if (isRecipe(checked) && wrong !== undefined) {
      throw new AprError('APR_BAD_OPTION', `expected no \`${wrong}\` with \`recipe\`, found both`)
    }
    checkChoices(without(options, 'select'))
  }
  return checked
}

/** The options that decide the bytes, those that are not their default, with paths that mean the same everywhere. */
export function plainOptions(options: CheckedPlanOptions): Readonly<Record<string, unknown>> {
  const plain: Record<string, unknown> = {}
  const rows: [string, OptionRow][] = Object.entries(PARTS_JOB_OPTIONS)
  for (const [name, row] of rows) {
    const value = (options as Readonly<Record<string, unknown>>)[name]
    if (value === undefined || value === row.default) continue
    const isPath = name === 'imatrix' || name === 'config'
    plain[name] = isPath ? absolutePath(value as string) : value
  }
  return plain
}

/**
 * What `convert` or `quantize` would be asked for.
 * @param plain options of a plan
 * @throws AprError `APR_BAD_OPTION`
 */
export async function jobOptions(plain: Readonly<Record<string, unknown>>, threads?: number): Promise<JobOptions> {
  checkPlanOptions(plain)
  const { convert, only, skip, select, ...options } = plain as PartsJobOptions
  if (convert === true) return { convert, ...options }
  const asked = { ...without(options, 'outtype'), threads }
  if (isRecipe(asked)) return asked
  const rule = select === 'apr' ? selectAsApr : selectByDefault
  return { ...asked, select: await selectByPatterns(rule, only, skip) }
}

/** The same object without some of its fields. */
export function without<T extends object, K extends keyof T>(value: T, ...names: readonly K[]): Omit<T, K> {
  const left = Object.entries(value).filter(([name]) => !(names as readonly string[]).includes(name))
  return Object.fromEntries(left) as Omit<T, K>
}

function isRecipe({
  recipe,
  targetBytes,
  bitsPerWeight,
}: Pick<PartsJobOptions, 'recipe' | 'targetBytes' | 'bitsPerWeight'>): boolean {
  return recipe !== undefined || targetBytes !== undefined || bitsPerWeight !== undefined
}
