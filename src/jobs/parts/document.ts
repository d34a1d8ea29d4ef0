/** A plan as a document: what is read from a file or a queue is anybody's text. */
import { AprError } from '../../model/errors.js'
import { found, isFields } from '../../model/found.js'
import type { PartsPlan } from '../../parts/blocks.js'
import { blockCount, BLOCK_STEP_BYTES } from '../../parts/cut.js'
import { VERSION } from '../../version.js'

/**
 * Checks that something is a plan that this version can work on.
 * @param file where it was read from, for messages
 * @throws AprError `APR_BAD_OPTION` for what is none, `APR_UNSUPPORTED` for one of another version of this package
 */
export function checkPlan(value: unknown, file?: string): PartsPlan {
  const wrong = (expected: string, what: unknown): AprError =>
    new AprError('APR_BAD_OPTION', `expected a plan as \`plan\` makes it, ${expected}, found ${found(what)}`, { file })
  if (!isFields(value)) throw wrong('an object', value)
  const { id, version, input, output, upload, overwrite, options, totalBytes, blockBytes, units, sources } = value
  if (typeof version !== 'string') throw wrong('with `version`', version)
  if (version !== VERSION) {
    const what = `expected a plan of apr-stream ${VERSION}, found one of ${version}: another version may make other bytes, plan again`
    throw new AprError('APR_UNSUPPORTED', what, { file })
  }
  if (typeof id !== 'string' || !/^[0-9a-f]{16}$/.test(id)) throw wrong('with an `id` of 16 digits', id)
  for (const [name, text] of Object.entries({ input, output })) {
    if (typeof text !== 'string' || text === '') throw wrong(`with \`${name}\``, text)
  }
  if (upload !== undefined && typeof upload !== 'string') throw wrong('with `upload` as text', upload)
  if (typeof overwrite !== 'boolean') throw wrong('with `overwrite`', overwrite)
  if (!isFields(options)) throw wrong('with `options`', options)
  if (!isSize(totalBytes)) throw wrong('with `totalBytes`', totalBytes)
  if (!isSize(blockBytes) || blockBytes % BLOCK_STEP_BYTES !== 0) throw wrong('with `blockBytes`', blockBytes)
  const blocks = blockCount({ totalBytes, blockBytes })
  if (!areUnits(units, blocks)) throw wrong('with `units`', units)
  if (!Array.isArray(sources) || !sources.every(isSource)) throw wrong('with `sources`', sources)
  return value as unknown as PartsPlan
}

/**
 * The unit of a number.
 * @throws AprError `APR_BAD_OPTION` for one that the plan has not
 */
export function unitOf({ units }: PartsPlan, unit: unknown): readonly [first: number, end: number] {
  const range = typeof unit === 'number' ? units[unit] : undefined
  if (range) return range
  throw new AprError('APR_BAD_OPTION', `expected a unit from 0 to ${units.length - 1}, found ${found(unit)}`)
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

/** One behind the other, from the first block on; the last block of all is in none. */
function areUnits(units: unknown, blocks: number): boolean {
  if (!Array.isArray(units) || units.length === 0) return false
  let next = 0
  for (const unit of units as unknown[]) {
    if (!Array.isArray(unit) || unit.length !== 2) return false
    const [first, end] = unit as unknown[]
    if (first !== next || !Number.isSafeInteger(end) || (end as number) < next) return false
    next = end as number
  }
  return next < blocks
}

function isSource(value: unknown): boolean {
  if (!isFields(value)) return false
  const { name, bytes, version } = value
  return typeof name === 'string' && Number.isSafeInteger(bytes) && typeof version === 'string'
}
