/** Recommended settings of the sampler, from `generation_config.json`. */
import { kv, type Kv } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import { found, isFields } from '../../model/found.js'

const FILE = 'generation_config.json'

/** By the last part of its key each setting's type, and the names that it has in the file: the first that is there counts. */
const SETTINGS: readonly (readonly [string, 'string' | 'i32' | 'f32', ...string[]])[] = [
  ['sequence', 'string', 'sequence'],
  ['top_k', 'i32', 'top_k'],
  ['top_p', 'f32', 'top_p'],
  ['min_p', 'f32', 'min_p'],
  ['xtc_probability', 'f32', 'xtc_probability'],
  ['xtc_threshold', 'f32', 'xtc_threshold'],
  ['temp', 'f32', 'temperature'],
  ['penalty_last_n', 'i32', 'penalty_last_n'],
  ['penalty_repeat', 'f32', 'penalty_repeat', 'repetition_penalty'],
  ['mirostat', 'i32', 'mirostat'],
  ['mirostat_tau', 'f32', 'mirostat_tau'],
  ['mirostat_eta', 'f32', 'mirostat_eta'],
]

/**
 * `general.sampling.*`, in the converter's order.
 * @throws AprError `APR_BAD_METADATA` for a setting that is not of its type
 */
export function samplingKvs(file: Uint8Array | undefined): Kv[] {
  const config = parsed(file)
  return SETTINGS.flatMap(([name, type, ...names]) => {
    const source = names.find((candidate) => Object.hasOwn(config, candidate))
    const value = source === undefined ? undefined : config[source]
    if (source === undefined || value === undefined || value === null || value === '') return []
    return [kv(`general.sampling.${name}`, type, checked(source, type, value))]
  })
}

function checked(name: string, type: 'string' | 'i32' | 'f32', value: unknown): number | string {
  if (type === 'string' && typeof value === 'string') return value
  const isHeld =
    type === 'i32'
      ? Number.isInteger(value) && (Number(value) | 0) === value
      : Number.isFinite(Math.fround(Number(value)))
  if (type !== 'string' && typeof value === 'number' && isHeld) return value
  const wanted = { string: 'a text', i32: 'an integer of 32 bits', f32: 'a number that an f32 holds' }[type]
  throw new AprError('APR_BAD_METADATA', `expected "${name}" to be ${wanted}, found ${found(value)}`, { file: FILE })
}

/** Not every model has one that can be read: then there are no recommendations. */
function parsed(file: Uint8Array | undefined): Readonly<Record<string, unknown>> {
  if (!file) return {}
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(file))
    return isFields(value) ? value : {}
  } catch {
    return {}
  }
}
