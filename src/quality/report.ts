/** Gathers tallies of tensors, and makes a report of them. */
import { elementCount, parameterCount, type TensorInfo } from '../model/tensor.js'
import { DTYPES } from '../model/dtypes.js'
import { groupFigures, measured } from './figures.js'
import type { KindFigures, LayerFigures, ReportData, ReportModel, TensorFigures } from './report-data.js'
import { addTally, newTally, rowsOfTensor, type Tally } from './tally.js'
import { kindOfTensor, layerOfTensor } from './tensor-names.js'

/** Two tensors that are held against each other. */
export interface TensorPair {
  /** As the report calls them. */
  readonly name: string
  readonly a: TensorInfo
  readonly b: TensorInfo
}

/** Sums up tensors as tallies of their parts come, in any order. */
export class TallyBook {
  readonly #tallies = new Map<string, { readonly tally: Tally; readonly isWeighted: boolean }>()

  /** @param tensor of which the tally tells a part */
  add(tensor: TensorInfo, part: Tally, isWeighted: boolean): void {
    const { tally } = this.#tallies.get(tensor.name) ?? { tally: newTally() }
    addTally(tally, part, rowsOfTensor(tensor))
    this.#tallies.set(tensor.name, { tally, isWeighted })
  }

  figuresOf({ name, a, b }: TensorPair, tensorName = name): TensorFigures {
    const found = this.#tallies.get(tensorName)
    return {
      ...{ name, tensorKind: kindOfTensor(name), layer: layerOfTensor(name), shape: b.shape },
      ...{ dtypeA: a.dtype, dtypeB: b.dtype, bytesA: a.size, bytesB: b.size },
      ...measured(found?.tally, found?.isWeighted ?? false, DTYPES[b.dtype].blockElements > 1),
    }
  }
}

/** What of a report follows from its tensors' figures. */
export function grouped(tensors: readonly TensorFigures[]): Pick<ReportData, 'total' | 'kinds' | 'layers' | 'tensors'> {
  const byKind = groupBy(tensors, ({ tensorKind }) => tensorKind)
  const byLayer = groupBy(tensors, ({ layer }) => layer)
  const kinds = [...byKind].map(([tensorKind, members]): KindFigures => ({ tensorKind, ...groupFigures(members) }))
  const layers = [...byLayer].flatMap(([layer, members]): LayerFigures[] =>
    layer === null ? [] : [{ layer, ...groupFigures(members) }],
  )
  return {
    total: groupFigures(tensors),
    kinds: kinds.sort((one, other) => other.bytesB - one.bytesB || (one.tensorKind < other.tensorKind ? -1 : 1)),
    layers: layers.sort((one, other) => one.layer - other.layer),
    tensors,
  }
}

function groupBy<T, Key>(items: readonly T[], keyOf: (item: T) => Key): Map<Key, T[]> {
  const groups = new Map<Key, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group) group.push(item)
    else groups.set(keyOf(item), [item])
  }
  return groups
}

export function reportModel(
  { name, format, bytes }: Pick<ReportModel, 'name' | 'format' | 'bytes'>,
  tensors: readonly TensorInfo[],
): ReportModel {
  const tensorBytes = tensors.reduce((sum, { size }) => sum + size, 0)
  const elements = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const bitsPerWeight = elements === 0 ? 0 : (tensorBytes * 8) / elements
  return { name, format, bytes, tensors: tensors.length, parameters: parameterCount(tensors), bitsPerWeight }
}
