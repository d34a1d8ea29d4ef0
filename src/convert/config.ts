/** A model's configuration, as the architectures read it. */
import { AprError } from '../model/errors.js'
import { isFields } from '../model/found.js'
import type { JsonObject } from './json-file.js'

/** A resolved configuration: what is read from it must be there. */
export class Config {
  readonly values: JsonObject
  /** Rope parameters: `rope_theta`, `rope_type` and what that needs. */
  readonly rope: JsonObject
  /** Keys that were asked for and are not there, or no numbers. */
  readonly #missing = new Set<string>()

  constructor(values: JsonObject) {
    this.values = values
    const rope = values['rope_parameters'] ?? values['rope_scaling']
    const found = isFields(rope) ? { ...rope } : {}
    for (const key of ['rope_theta', 'partial_rotary_factor', 'original_max_position_embeddings']) {
      if (found[key] === undefined && isThere(values[key])) found[key] = values[key]
    }
    if (found['rope_type'] === undefined && isThere(found['type'])) found['rope_type'] = found['type']
    this.rope = found
  }

  /** A number; 0, and missing, where there is none. */
  number(...keys: string[]): number {
    const found = this.optional(...keys)
    if (found === undefined) this.#missing.add(keys.join(' or '))
    return found ?? 0
  }

  /** The first of the keys that is there, if it is a number. */
  optional(...keys: string[]): number | undefined {
    const key = keys.find((name) => this.values[name] !== undefined)
    const value = key === undefined ? undefined : this.values[key]
    return typeof value === 'number' ? value : undefined
  }

  /** @throws AprError `APR_BAD_METADATA` that lists all that was asked for and is missing */
  checkComplete(): void {
    if (this.#missing.size === 0) return
    const what = `expected config.json to have the numbers ${[...this.#missing].join(', ')}, found none of these`
    throw new AprError('APR_BAD_METADATA', what)
  }
}

export function isThere(value: unknown): boolean {
  return value !== undefined && value !== null
}
