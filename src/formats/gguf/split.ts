/** Models that are split into several files: how these are called, and what each says of itself. */
import { AprError, printable } from '../../model/errors.js'
import { findKv, kvValue, type Kv } from './kv.js'

/** Number of the part, from 0; of all parts; of the tensors of all parts. */
export const SPLIT_KEYS = ['split.no', 'split.count', 'split.tensors.count'] as const

/** The most that `split.count`, a u16, can say. */
export const MAX_PARTS = 0xffff

const PART_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/

/** Name of a part of the model `name`: `x.gguf` becomes `x-00001-of-00003.gguf`. */
export function partName(name: string, index: number, count: number): string {
  return nameOf(name.replace(/\.gguf$/, ''), index, count)
}

function nameOf(prefix: string, index: number, count: number): string {
  const digits = (value: number): string => String(value).padStart(5, '0')
  return `${prefix}-${digits(index + 1)}-of-${digits(count)}.gguf`
}

/** What the first part says. */
export interface Split {
  readonly index: number
  readonly count: number
  readonly tensors: number
}

/** The pairs that are the model's, whatever file it stands in. */
export function withoutSplit(kvs: readonly Kv[]): readonly Kv[] {
  return kvs.filter(({ key }) => !SPLIT_KEYS.some((own) => own === key))
}

/**
 * What the pairs of a file say of its part; undefined where it is a whole model.
 * @throws AprError `APR_BAD_METADATA` for values of another type
 */
export function splitOf(kvs: readonly Kv[]): Split | undefined {
  const [no, count, tensors] = SPLIT_KEYS
  // As llama.cpp: one part is a whole model, whatever else it says.
  if (!findKv(kvs, count) || number(kvs, count, 'u16') <= 1) return undefined
  return { index: number(kvs, no, 'u16'), count: number(kvs, count, 'u16'), tensors: number(kvs, tensors, 'i32') }
}

/**
 * Checks a part but the first. llama.cpp asks for its number only: what else it says must not be that of another model.
 * @throws AprError `APR_BAD_METADATA` for a part whose number is missing or another, or that is one of others
 */
export function checkPart(kvs: readonly Kv[], index: number, first: Split): void {
  const [no, count, tensors] = SPLIT_KEYS
  const expected = [
    [no, 'u16', index],
    [count, 'u16', first.count],
    [tensors, 'i32', first.tensors],
  ] as const
  for (const [key, type, value] of expected) {
    if (key !== no && !findKv(kvs, key)) continue
    const found = number(kvs, key, type)
    if (found === value) continue
    const what = `expected ${key} ${value} in part ${index + 1} of the model, found ${found}`
    throw new AprError('APR_BAD_METADATA', what)
  }
}

function number(kvs: readonly Kv[], key: string, type: 'u16' | 'i32'): number {
  const pair = findKv(kvs, key)
  if (pair?.type === type) return Number(kvValue(pair))
  const found = pair ? `a ${pair.type}` : 'none'
  throw new AprError('APR_BAD_METADATA', `expected ${key} as a ${type} in a split model, found ${found}`)
}

/**
 * Names of all parts, told by that of the first.
 * @throws AprError `APR_BAD_INDEX` where the name is none of a first part of so many, or another part was given
 */
export function partNames(fileName: string, { index, count }: Split): string[] {
  const [, prefix, no, all] = PART_NAME.exec(fileName) ?? []
  if (index !== 0) {
    const first = prefix === undefined ? 'that one' : printable(nameOf(prefix, 0, count))
    const what = `expected the first part of a split model, found part ${index + 1} of ${count}: give ${first}`
    throw new AprError('APR_BAD_INDEX', what)
  }
  if (prefix === undefined || Number(no) !== 1 || Number(all) !== count) {
    const what = `expected a name as PREFIX${nameOf('', 0, count)} for the first of ${count} parts, by which the others are found, found ${printable(fileName)}`
    throw new AprError('APR_BAD_INDEX', what)
  }
  return Array.from({ length: count }, (_, i) => (i === 0 ? fileName : nameOf(prefix, i, count)))
}
