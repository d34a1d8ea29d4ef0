/** Options of work in parts. */
import { AprError } from '../model/errors.js'
import { found, isFields } from '../model/found.js'
import type { BlockReceipt } from '../parts/blocks.js'
import { BOOLEAN, callback, oneOf, wholeNumber, type OptionKind, type OptionRow } from './check.js'
import { nothing } from './answers.js'
import { CONVERT_OPTIONS, Q4K_OPTIONS, QUANTIZE_OPTIONS, READ_OPTIONS } from './table.js'

const PATTERNS: OptionKind<readonly string[]> = {
  type: 'array of strings',
  check(name, value) {
    const items: readonly unknown[] = Array.isArray(value) ? value : [undefined]
    const isGlob = (item: unknown): item is string => typeof item === 'string' && item !== ''
    if (items.every(isGlob)) return Object.freeze([...items])
    throw new AprError('APR_BAD_OPTION', `expected ${name} to be an array of globs, found ${found(value)}`)
  },
}

const RULES = oneOf('default', 'apr')

/** A rule by its name: what a function decides could not be written down. */
const RULE: OptionKind<'default' | 'apr'> = {
  type: RULES.type,
  check(name, value) {
    if (typeof value !== 'function') return RULES.check(name, value)
    const what = `expected ${name} to be one of default, apr, found a function, which a plan cannot hold; \`only\` and \`skip\` choose by names`
    throw new AprError('APR_BAD_OPTION', what)
  },
}

/** Blocks begin at multiples of so many bytes. */
const BLOCK_BYTES: OptionKind<number> = {
  type: 'number',
  unit: 'bytes',
  check(name, value) {
    if (Number.isSafeInteger(value) && (value as number) > 0 && (value as number) % 65536 === 0) return value as number
    throw new AprError('APR_BAD_OPTION', `expected ${name} to be a multiple of 65,536 bytes, found ${found(value)}`)
  },
}

const { recipe, imatrix, types, outputType, embeddingType, pure, leaveOutput, allowRequantize, fallback } =
  QUANTIZE_OPTIONS
const { targetBytes, bitsPerWeight, fit, kept, to, pre, config, overwrite, strict } = QUANTIZE_OPTIONS

/** What decides the bytes, as a plan holds it. */
export const PARTS_JOB_OPTIONS = {
  convert: {
    kind: BOOLEAN,
    default: false,
    meaning:
      'convert only, as [convert](convert.md) does: of what follows only `outtype`, `to`, `pre` and `config` are for it',
  },
  outtype: CONVERT_OPTIONS.outtype,
  recipe,
  ...{ imatrix, types, outputType, embeddingType, pure, leaveOutput, allowRequantize, fallback },
  ...{ targetBytes, bitsPerWeight, fit },
  select: {
    kind: RULE,
    default: 'default',
    meaning: 'rule that says which tensors become Q4_K: the default one, or that of `apr quantize`',
  },
  only: {
    kind: PATTERNS,
    derived: 'all',
    meaning: 'globs: of what `select` takes, tensors whose name one of them matches',
  },
  skip: { kind: PATTERNS, derived: 'none', meaning: 'globs: tensors whose name one of them matches are not quantized' },
  ...{ kept, to, pre, config },
} as const satisfies Record<string, OptionRow>

export const PARTS_PLAN_OPTIONS = {
  ...PARTS_JOB_OPTIONS,
  blockBytes: {
    kind: BLOCK_BYTES,
    derived: '16 MiB, or more where there would be over 9,000 blocks',
    meaning: 'size of a block: what is read, made, written and sent as one',
  },
  unitBytes: {
    kind: wholeNumber('bytes'),
    derived: '512 MiB, or more where there would be over 1,000 units',
    meaning: 'output of a unit of work, about',
  },
  overwrite,
  spaceCheck: QUANTIZE_OPTIONS.spaceCheck,
  strict,
  signal: READ_OPTIONS.signal,
} as const satisfies Record<string, OptionRow>

export const PART_OPTIONS = {
  threads: Q4K_OPTIONS.threads,
  onProgress: {
    kind: callback('function', nothing),
    derived: 'none',
    meaning: 'called when a block is in its place; what it throws ends the part',
  },
  signal: READ_OPTIONS.signal,
} as const satisfies Record<string, OptionRow>

const RECEIPTS: OptionKind<readonly BlockReceipt[]> = {
  type: 'array',
  check(name, value) {
    if (Array.isArray(value) && value.every(isReceipt)) return value
    throw new AprError('APR_BAD_OPTION', `expected ${name} to be an array of receipts, found ${found(value)}`)
  },
}

function isReceipt(value: unknown): value is BlockReceipt {
  return isFields(value) && Number.isSafeInteger(value['block']) && Number.isSafeInteger(value['crc32'])
}

export const FINISH_OPTIONS = {
  receipts: {
    kind: RECEIPTS,
    derived: 'none',
    meaning:
      "what the parts have returned, in any order: where the output's place keeps no account of what was read, the input's checksum is checked by them",
  },
  onProgress: PART_OPTIONS.onProgress,
  signal: PART_OPTIONS.signal,
} as const satisfies Record<string, OptionRow>
