/** The order of a model's tensors, which APR does not keep: its index is sorted by name. */
import { compareNames } from '../../model/names.js'
import type { TensorInfo } from '../../model/tensor.js'

/** Key of the metadata: of each tensor in the order of the index, its place in the source. */
export const ORDER_KEY = 'source_order'

/** @returns undefined where the tensors stand in the order of their names already */
export function orderOf(tensors: readonly TensorInfo[]): number[] | undefined {
  const places = [...tensors.keys()]
  const name = (place: number): string => tensors[place]?.name ?? ''
  places.sort((a, b) => compareNames(name(a), name(b)))
  return places.every((place, i) => place === i) ? undefined : places
}

/** The tensors as they stood in the source; by name, where nothing is known of that or they are no longer the same. */
export function inOrder(tensors: readonly TensorInfo[], order: unknown): TensorInfo[] {
  const sorted = tensors.toSorted((a, b) => compareNames(a.name, b.name))
  const places: readonly unknown[] = Array.isArray(order) ? order : []
  const isKnown = places.length === sorted.length && new Set(places).size === sorted.length
  if (!isKnown || !places.every((place) => isPlace(place, sorted.length))) return sorted
  const result = [...sorted]
  sorted.forEach((tensor, i) => (result[places[i] as number] = tensor))
  return result
}

function isPlace(value: unknown, count: number): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < count
}
