/** The key-value pairs of what a recipe makes. */
import { kv, STRING_HEAD_BYTES, type GgufModel, type Kv } from '../formats/formats.js'
import { RECIPES, type RecipeName } from './names.js'

/** What a file tells of the importance matrix that it was made with. */
export interface ImportanceOrigin {
  /** As it was given. */
  readonly file: string
  /** What it was computed on; undefined where it does not tell. */
  readonly dataset?: string | undefined
  /** Tensors that it tells of. */
  readonly entries: number
  /** Pieces of text that it was computed on. */
  readonly chunks?: number | undefined
}

const QUANTIZATION_VERSION = 2

/**
 * The pairs of a model as llama-quantize writes them: those of the source, and behind them what was made. The alignment
 * stays, which llama-quantize writes without keeping to it.
 */
export function recipeKvs(model: GgufModel, name: RecipeName, importance?: ImportanceOrigin): readonly Kv[] {
  const own = [
    kv('general.quantization_version', 'u32', QUANTIZATION_VERSION),
    kv('general.file_type', 'u32', RECIPES[name].fileType),
  ]
  return withKvs(model.kvs, [...own, ...(importance ? importanceKvs(importance) : [])])
}

/** What is written of an importance matrix. */
export function importanceKvs({ file, dataset, entries, chunks = 0 }: ImportanceOrigin): readonly Kv[] {
  return [
    cutTextKv('quantize.imatrix.file', file),
    ...(dataset === undefined ? [] : [cutTextKv('quantize.imatrix.dataset', dataset)]),
    kv('quantize.imatrix.entries_count', 'u32', entries),
    ...(chunks > 0 ? [kv('quantize.imatrix.chunks_count', 'u32', chunks)] : []),
  ]
}

/** Pairs set one after the other: each comes last, also where the key was there already. */
export function withKvs(kvs: readonly Kv[], changes: readonly Kv[]): readonly Kv[] {
  const all = new Map(kvs.map((pair) => [pair.key, pair]))
  for (const pair of changes) {
    all.delete(pair.key)
    all.set(pair.key, pair)
  }
  return Object.freeze([...all.values()])
}

/** Bytes of a text that llama-quantize has room for. */
const MAX_TEXT_BYTES = 127

/** A text, cut where llama-quantize cuts it, be it inside of a character. */
function cutTextKv(key: string, text: string): Kv {
  const whole = kv(key, 'string', text)
  if (whole.data.length <= STRING_HEAD_BYTES + MAX_TEXT_BYTES) return whole
  const data = whole.data.slice(0, STRING_HEAD_BYTES + MAX_TEXT_BYTES)
  new DataView(data.buffer).setUint32(0, MAX_TEXT_BYTES, true)
  return { key, type: 'string', data }
}
