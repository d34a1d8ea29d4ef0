/** A model's configuration, as the architectures read it. */
import { AprError } from '../../model/errors.js'
import { isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'

/** Keys of config.json that belong to the rope parameters, and may stand beside them. */
const ROPE_KEYS = ['rope_theta', 'partial_rotary_factor', 'original_max_position_embeddings']

const MAX_COUNT = 2 ** 32

/** A resolved configuration: what is read from it must be there. */
export class Config {
  readonly values: JsonObject
  /** Rope parameters: `rope_theta`, `rope_type` and what that needs; or such objects, by kinds of attention. */
  readonly rope: JsonObject
  /** Keys that were asked for and are not there, or no numbers. */
  readonly #missing = new Set<string>()

  constructor(values: JsonObject) {
    this.values = values
    this.rope = ropeOf(values)
  }

  /** A count; 1, and missing, where there is none: what is computed with it is not used. */
  count(...keys: string[]): number {
    return this.#need(this.optionalCount(...keys), keys)
  }

  /** A number; 1, and missing, where there is none. */
  number(...keys: string[]): number {
    return this.#need(this.optionalNumber(...keys), keys)
  }

  /** The first of the keys that is there, if it is a whole number of 32 bits. */
  optionalCount(...keys: string[]): number | undefined {
    const value = this.optionalNumber(...keys)
    if (value === undefined || (Number.isInteger(value) && value >= 0 && value < MAX_COUNT)) return value
    this.#missing.add(keys.join(' or '))
    return undefined
  }

  /** The first of the keys that is there, if it is a number. */
  optionalNumber(...keys: string[]): number | undefined {
    const key = keys.find((name) => this.values[name] !== undefined)
    const value = key === undefined ? undefined : this.values[key]
    return typeof value === 'number' ? value : undefined
  }

  /** Rope parameters of layers that see all that is before. */
  get fullRope(): JsonObject {
    const full = this.rope['full_attention']
    return isFields(full) ? full : this.rope
  }

  /** A number of the rope parameters; 1, and missing, where there is none. */
  ropeNumber(key: string): number {
    const value = this.fullRope[key]
    return this.#need(typeof value === 'number' ? value : undefined, [`rope_parameters.${key}`])
  }

  #need(value: number | undefined, keys: readonly string[]): number {
    if (value === undefined) this.#missing.add(keys.join(' or '))
    return value ?? 1
  }

  /** @throws AprError `APR_BAD_METADATA` that lists all that was asked for and is missing */
  checkComplete(): void {
    if (this.#missing.size === 0) return
    const what = `expected config.json to have the numbers ${[...this.#missing].join(', ')}, found none there that fit`
    throw new AprError('APR_BAD_METADATA', what)
  }
}

function ropeOf(values: JsonObject): JsonObject {
  const found = values['rope_parameters'] === undefined ? values['rope_scaling'] : values['rope_parameters']
  const rope: Record<string, unknown> = isFields(found) ? { ...found } : {}
  if (isFields(rope['full_attention']) || isFields(rope['sliding_attention'])) return rope
  for (const key of ROPE_KEYS) {
    if (rope[key] === undefined && isThere(values[key])) rope[key] = values[key]
  }
  if (rope['rope_type'] === undefined && isThere(rope['type'])) rope['rope_type'] = rope['type']
  const local = values['rope_local_base_freq']
  if (isThere(local)) rope['sliding_attention'] = { rope_theta: local }
  return rope
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null
}
