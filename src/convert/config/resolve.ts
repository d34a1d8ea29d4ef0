/** What transformers' AutoConfig makes of a config.json: the reference converter reads that. */
import { isFields } from '../../model/found.js'
import type { JsonObject } from '../json-file.js'
import type { ConfigClass, FieldType } from './config-class.js'

/** Keys that a kind of rope needs. */
const ROPE_KEYS: Readonly<Record<string, readonly string[]>> = {
  linear: ['factor'],
  dynamic: ['factor'],
  yarn: ['factor', 'original_max_position_embeddings'],
  longrope: ['short_factor', 'long_factor', 'original_max_position_embeddings'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor'],
}

/** Kinds of rope that are for a longer context than that of the training. */
const LONGER: readonly unknown[] = ['llama3', 'yarn', 'longrope']

/**
 * @param text of the file, which tells whole numbers from others
 * @param own undefined for a class that transformers does not have
 * @returns the file as it stands, where transformers refuses it
 */
export function resolveConfig(raw: JsonObject, text: string, own: ConfigClass | undefined): JsonObject {
  if (!own || !Object.entries(raw).every(([key, value]) => fits(key, value, text, own))) return raw
  const { aliases = {}, computed = {}, fields } = own
  const values: Record<string, unknown> = {}
  const set = (key: string, value: unknown): void => void (values[aliases[key] ?? key] = value)
  for (const [key, [, byDefault]] of Object.entries(fields)) if (byDefault !== undefined) set(key, byDefault)
  for (const [key, value] of Object.entries(raw)) if (Object.hasOwn(fields, key)) set(key, value)
  for (const [key, value] of Object.entries(raw)) if (!Object.hasOwn(fields, key)) set(key, value)
  for (const [key, compute] of Object.entries(computed)) {
    const isAsked = Object.hasOwn(fields, key) ? (values[key] ?? null) === null : values[key] === undefined
    if (isAsked) values[key] = compute(values)
  }
  const rope = own.rope ? own.rope(raw, values) : foldRope(raw, values, own)
  if (!rope || own.isValid?.(values) === false || !isValidRope(rope, values) || !areLayersNamed(values)) return raw
  values['rope_parameters'] = rope
  delete values['rope_theta']
  delete values['rope_scaling']
  return values
}

function fits(key: string, value: unknown, text: string, { fields }: ConfigClass): boolean {
  const field = Object.hasOwn(fields, key) ? fields[key] : undefined
  if (!field) return true
  const type = field[0]
  if (value === null) return type.endsWith('?')
  return isOfType(value, type.replace('?', '') as FieldType, () => isWrittenWhole(text, key))
}

function isOfType(value: unknown, type: FieldType, isWhole: () => boolean): boolean {
  if (type === 'int') return Number.isInteger(value) && isWhole()
  if (type === 'float') return typeof value === 'number' && (!Number.isInteger(value) || !isWhole())
  if (type === 'ids') return Number.isInteger(value) || (Array.isArray(value) && value.every(Number.isInteger))
  if (type === 'list') return Array.isArray(value)
  if (type === 'object') return isFields(value)
  return typeof value === (type === 'bool' ? 'boolean' : type)
}

/** Whether a number stands there without a point or an exponent: JSON does not tell 1 from 1.0, Python does. */
function isWrittenWhole(text: string, key: string): boolean {
  return !new RegExp(`"${key}"\\s*:\\s*-?\\d+[.eE]`).test(text)
}

/** The older ways to write rope parameters, folded into the newer one. */
export function foldRope(raw: JsonObject, values: JsonObject, { theta, fields }: ConfigClass): JsonObject {
  const scaling = raw['rope_scaling']
  const found = isFields(scaling) && Object.keys(scaling).length > 0 ? scaling : raw['rope_parameters']
  const rope: Record<string, unknown> = {
    rope_theta: raw['rope_theta'] === undefined ? theta : raw['rope_theta'],
    ...(typeof raw['partial_rotary_factor'] === 'number' && { partial_rotary_factor: raw['partial_rotary_factor'] }),
    ...(isFields(found) && found),
  }
  if (rope['rope_type'] === undefined) rope['rope_type'] = rope['type'] ?? 'default'
  if (LONGER.includes(rope['rope_type'])) {
    const key = 'original_max_position_embeddings'
    if (Object.hasOwn(fields, key)) rope[key] = values[key]
    else if (rope[key] === undefined) rope[key] = values['max_position_embeddings']
  }
  return rope
}

function isValidRope(rope: JsonObject, { head_dim: headDim }: JsonObject): boolean {
  if (rope['rope_type'] === 'longrope' && headDim === null) return false
  const kinds = Object.values(rope).filter(isFields)
  return (kinds.length > 0 ? kinds : [rope]).every((one) => {
    const type = String(one['rope_type'])
    return (Object.hasOwn(ROPE_KEYS, type) ? (ROPE_KEYS[type] ?? []) : []).every((key) => one[key] !== undefined)
  })
}

/** Whether layers that are named one by one are as many as there are. */
function areLayersNamed({ layer_types: types, num_hidden_layers: layers }: JsonObject): boolean {
  return !Array.isArray(types) || types.length === layers
}
