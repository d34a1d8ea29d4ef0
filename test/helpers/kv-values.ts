import { createHash } from 'node:crypto'
import { arrayHead, kvValue, type Kv } from '../../dist/formats/formats.js'

/** A pair as the expected ones are written down: a long array as its length and hash, scores as their length alone. */
export interface ExpectedKv {
  readonly key: string
  readonly type: string
  readonly value?: unknown
  readonly length?: number
  readonly sha256OfJson?: string
}

export function expectedForm(pair: Kv, longest: number): ExpectedKv {
  const { key } = pair
  const value = kvValue(pair)
  if (!Array.isArray(value)) return { key, type: pair.type, value }
  const { element: type } = arrayHead(pair)
  if (value.length <= longest) return { key, type, value }
  if (type === 'f32') return { key, type, length: value.length }
  const sha256OfJson = createHash('sha256').update(JSON.stringify(value)).digest('hex')
  return { key, type, length: value.length, sha256OfJson }
}
