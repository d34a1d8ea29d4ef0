/** A model of another format as APR: its tensors as they are, and all else in the metadata. */
import {
  APR_DTYPES,
  findKv,
  kvValue,
  makeAprModel,
  type AprModel,
  type GgufModel,
  type KvScalar,
  type SafetensorsModel,
} from '../../formats/formats.js'
import type { DType } from '../../model/dtypes.js'
import { AprError, printable } from '../../model/errors.js'
import type { Model } from '../../model/model.js'
import { parameterCount, type TensorInfo } from '../../model/tensor.js'
import { ggufMetadata } from './gguf-metadata.js'
import { hfMetadata, jsonOf } from './hf-metadata.js'
import { kvEntry, KVS_KEY, TOKENIZER_ARRAYS } from './kv-json.js'
import { FILES_KEY, fileValues, FOLDER_KEY } from './source-files.js'
import { ORDER_KEY, orderOf } from './tensor-order.js'

/** By key the JSON text of each value; a long one in pieces. */
type Json = Map<string, string | string[]>

/** Key of the metadata for `__metadata__` of safetensors. */
export const SOURCE_METADATA_KEY = 'source_metadata'

/**
 * The model as APR: tensors keep name, dtype, shape and bytes. An APR model stays as it is.
 * @throws AprError `APR_UNSUPPORTED` that lists the tensors of dtypes that APR does not hold, `APR_BAD_METADATA` for a
 *   folder's files that cannot be read
 */
export function aprModelOf(model: Model): AprModel {
  if (model.format === 'apr') return model
  checkDTypes(model.tensors)
  const metadata = model.format === 'gguf' ? ofGguf(model) : ofSafetensors(model)
  const order = orderOf(model.tensors)
  if (order) metadata.set(ORDER_KEY, JSON.stringify(order))
  return makeAprModel(model.tensors, metadata, model.origin)
}

function ofSafetensors({ tensors, folder, metadata, files }: SafetensorsModel): Json {
  const values = fileValues(files)
  const tokenizer = values.get('tokenizer.json')
  return new Map<string, string | string[]>([
    ...jsonOf({ ...start('safetensors', tensors), name: folder === '' ? undefined : folder }),
    ...hfMetadata(files, typeof tokenizer === 'string' ? tokenizer : undefined),
    ...jsonOf({
      [SOURCE_METADATA_KEY]: Object.keys(metadata).length > 0 ? metadata : undefined,
      [FOLDER_KEY]: folder,
    }),
    [FILES_KEY, objectOf(Array.from(values, ([name, value]) => [name, JSON.stringify(value)]))],
  ])
}

function ofGguf({ tensors, kvs }: GgufModel): Json {
  const arrays = new Map<string, readonly KvScalar[]>()
  for (const [kvKey, { key }] of Object.entries(TOKENIZER_ARRAYS)) {
    const pair = findKv(kvs, kvKey)
    const value = pair && kvValue(pair)
    if (Array.isArray(value)) arrays.set(key, value as readonly KvScalar[])
  }
  const entries = kvs.map((pair): [string, string] => {
    const values = arrays.get(TOKENIZER_ARRAYS[pair.key]?.key ?? '')
    return [pair.key, JSON.stringify(kvEntry(pair, values))]
  })
  return new Map<string, string | string[]>([
    ...jsonOf({ ...start('gguf', tensors), ...ggufMetadata(kvs, arrays) }),
    [KVS_KEY, objectOf(entries)],
  ])
}

/** An object as pieces of JSON: as one text it would be made twice. */
function objectOf(members: readonly (readonly [string, string])[]): string[] {
  const pieces = members.map(([key, json], i) => [i === 0 ? '' : ',', JSON.stringify(key), ':', json])
  return ['{', ...pieces.flat(), '}']
}

/** What the metadata of every model has. */
function start(format: string, tensors: readonly TensorInfo[]): Record<string, unknown> {
  const unknown = { license: null, data_source: null, data_license: null }
  return { model_type: '', ...unknown, original_format: format, total_size: 0, param_count: parameterCount(tensors) }
}

/** Names that an error tells of each dtype. */
const MAX_NAMES = 3

/** @throws AprError `APR_UNSUPPORTED` that lists all tensors that APR does not hold, by dtype */
function checkDTypes(tensors: readonly TensorInfo[]): void {
  const refused = new Map<DType, string[]>()
  for (const { name, dtype } of tensors) {
    if (!APR_DTYPES.includes(dtype)) refused.set(dtype, [...(refused.get(dtype) ?? []), printable(name)])
  }
  if (refused.size === 0) return
  const lists = [...refused].map(([dtype, names]) => {
    const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : ''
    return `${dtype} (${names.slice(0, MAX_NAMES).join(', ')}${more})`
  })
  const what = `expected tensors of dtypes that APR holds (${APR_DTYPES.join(', ')}), found ${lists.join('; ')}`
  throw new AprError('APR_UNSUPPORTED', what)
}
