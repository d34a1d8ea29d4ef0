/** A class of transformers that stands for a model's configuration: what it takes, and what it fills in. */
import type { JsonObject } from '../json-file.js'

/** As Python has it: a `float` is written with a point or an exponent, a `number` either way; `?`: or null. */
export type FieldType = 'int' | 'float' | 'number' | 'bool' | 'string' | 'ids' | 'list' | 'object'

/** Type, and value by default; without one the key must be there. */
export type Field = readonly [type: FieldType | `${FieldType}?`, byDefault?: unknown]

export interface ConfigClass {
  readonly fields: Readonly<Record<string, Field>>
  /** Values that are computed where there is nothing, and for a field of the class where there is null. */
  readonly computed?: Readonly<Record<string, (values: JsonObject) => unknown>>
  /** Keys by other names of theirs. */
  readonly aliases?: Readonly<Record<string, string>>
  /** What it checks beside the types. */
  readonly isValid?: (values: JsonObject) => boolean
  /** `rope_theta` by default. */
  readonly theta: number
  /** `rope_parameters`, where they are not the common ones; undefined: refused. */
  readonly rope?: (raw: JsonObject, values: JsonObject) => JsonObject | undefined
}

/** Fields that all have. The two without a value differ from model to model: filled in they would only be wrong. */
export const COMMON_FIELDS: Readonly<Record<string, Field>> = {
  architectures: ['list?', null],
  hidden_size: ['int'],
  num_attention_heads: ['int'],
  hidden_act: ['string', 'silu'],
  use_cache: ['bool', true],
  tie_word_embeddings: ['bool', false],
  rope_parameters: ['object?', null],
  attention_dropout: ['number', 0],
  pad_token_id: ['int?', null],
  bos_token_id: ['int?', null],
  eos_token_id: ['ids?', null],
}

/** Heads of keys and values where config.json has null: as many as of queries. */
export const allHeads = (values: JsonObject): unknown => values['num_attention_heads']

/** Dimensions of a head where nothing says it. */
export function headDimension({ hidden_size: width, num_attention_heads: heads }: JsonObject): number | undefined {
  return typeof width === 'number' && typeof heads === 'number' ? Math.floor(width / heads) : undefined
}

/** Whether the width is whole heads. */
export function isWholeHeads({ hidden_size: width, num_attention_heads: heads }: JsonObject): boolean {
  return typeof width !== 'number' || typeof heads !== 'number' || width % heads === 0
}
