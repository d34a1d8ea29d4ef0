/** From sums and counts to what a report tells. */
import {
  binEdge,
  type Counts,
  type ErrorFigures,
  type ErrorSums,
  type GroupFigures,
  type TensorFigures,
} from './report-data.js'
import { E2, sumOf, UE2, UW2, V2, W2 } from './sums.js'
import { newTally, type Tally } from './tally.js'

/** Bins that a histogram has at the most, and the magnitude from which on a weight is an outlier, in rms. */
const MAX_BINS = 64
const OUTLIER_RMS = 8

export function errorSums(sums: Float64Array, weights: number, isWeighted: boolean): ErrorSums {
  const [w2, v2, e2] = [sumOf(sums, W2), sumOf(sums, V2), sumOf(sums, E2)]
  // e^2 = w^2 + v^2 - 2 w v.
  const wv = (w2 + v2 - e2) / 2
  return { weights, w2, v2, wv, e2, ...(isWeighted && { uw2: sumOf(sums, UW2), ue2: sumOf(sums, UE2) }) }
}

export function errorFigures(sums: ErrorSums): ErrorFigures {
  const { w2, v2, wv, e2, uw2, ue2 } = sums
  const isWeighted = uw2 !== undefined && ue2 !== undefined
  return {
    ...sums,
    relativeError: ratio(e2, w2),
    ...(isWeighted && { weightedError: ratio(ue2, uw2) }),
    snr: isWeighted ? decibels(uw2, ue2) : decibels(w2, e2),
    cosine: w2 === 0 || v2 === 0 ? null : Math.min(1, wv / Math.sqrt(w2 * v2)),
  }
}

/**
 * Sums over several tensors, and what follows of them. Weighted are those that have importance: of the others
 * nobody knows how they count beside these.
 */
export function groupFigures(tensors: readonly TensorFigures[]): GroupFigures {
  const isWeighted = tensors.some(({ uw2 }) => uw2 !== undefined)
  const sum = (of: (tensor: TensorFigures) => number): number => tensors.reduce((all, tensor) => all + of(tensor), 0)
  return {
    tensors: tensors.length,
    bytesA: sum(({ bytesA }) => bytesA),
    bytesB: sum(({ bytesB }) => bytesB),
    ...errorFigures({
      weights: sum(({ weights }) => weights),
      w2: sum(({ w2 }) => w2),
      v2: sum(({ v2 }) => v2),
      wv: sum(({ wv }) => wv),
      e2: sum(({ e2 }) => e2),
      ...(isWeighted && {
        uw2: sum(({ uw2 = 0 }) => uw2),
        ue2: sum(({ ue2 = 0 }) => ue2),
      }),
    }),
  }
}

type Measured = Omit<
  TensorFigures,
  'name' | 'tensorKind' | 'layer' | 'shape' | 'dtypeA' | 'dtypeB' | 'bytesA' | 'bytesB'
>

/** @param tally of all of the tensor's pairs */
export function measured(tally: Tally | undefined, isWeighted: boolean, hasBlocks: boolean): Measured {
  const all = tally ?? newTally()
  const { sums, elements, greatest, notFinite, matrices, lostBlocks } = all
  const weights = elements - (notFinite?.pairs ?? 0)
  const figures = errorFigures(errorSums(sums, weights, isWeighted))
  return {
    ...figures,
    maxError: greatest
      ? { error: Math.abs(greatest.v - greatest.w), element: greatest.element, w: greatest.w, v: greatest.v }
      : noError(weights),
    ...(matrices.size > 1 && { experts: expertFigures(matrices, isWeighted) }),
    worstRows: all.worstRows.map(({ row, w2, e2 }) => ({ row, snr: decibels(w2, e2), relativeError: ratio(e2, w2) })),
    rowSnr: trimmed(all.rowSnr, Infinity),
    magnitudes: trimmed(withoutZeros(all.magnitudes), MAX_BINS),
    errors: trimmed(withoutZeros(all.errors), MAX_BINS),
    outlierShare: weights === 0 ? 0 : outliers(all.magnitudes, figures.w2, weights) / weights,
    ...(hasBlocks && { lostBlocks }),
    ...(notFinite && {
      notFinite: {
        ...{ inA: notFinite.inA, inB: notFinite.inB, element: notFinite.element },
        ...{ w: finiteOrText(notFinite.w), v: finiteOrText(notFinite.v) },
      },
    }),
  }
}

function noError(weights: number): TensorFigures['maxError'] {
  return weights === 0 ? null : { error: 0, element: 0, w: 0, v: 0 }
}

function ratio(e2: number, w2: number): number | null {
  return e2 === 0 ? 0 : w2 === 0 ? null : Math.sqrt(e2 / w2)
}

function decibels(w2: number, e2: number): number | null {
  return e2 === 0 || w2 === 0 ? null : 10 * Math.log10(w2 / e2)
}

function finiteOrText(value: number): number | string {
  return Number.isFinite(value) ? value : String(value)
}

function expertFigures(
  matrices: ReadonlyMap<number, Float64Array>,
  isWeighted: boolean,
): NonNullable<TensorFigures['experts']> {
  const [signal, noise] = isWeighted ? [UW2, UE2] : [W2, E2]
  let [min, max, worst] = [Infinity, -Infinity, 0]
  for (const [matrix, sums] of [...matrices].sort(([one], [other]) => one - other)) {
    const [w2, e2] = [sumOf(sums, signal), sumOf(sums, noise)]
    const snr = e2 === 0 ? Infinity : w2 === 0 ? -Infinity : 10 * Math.log10(w2 / e2)
    if (snr < min) [min, worst] = [snr, matrix]
    max = Math.max(max, snr)
  }
  const told = (snr: number): number | null => (Number.isFinite(snr) ? snr : null)
  return { count: matrices.size, minSnr: told(min), maxSnr: told(max), worst }
}

/** The lowest bin holds zeros, and what is less than any weight. */
function withoutZeros(counts: Float64Array): Float64Array {
  const rest = counts.slice()
  rest[0] = 0
  return rest
}

function trimmed(counts: Float64Array, maxBins: number): Counts {
  const last = counts.findLastIndex((count) => count > 0)
  if (last < 0) return { first: 0, counts: [] }
  const first = Math.max(
    counts.findIndex((count) => count > 0),
    last + 1 - maxBins,
  )
  const kept = [...counts.subarray(first, last + 1)]
  kept[0] = counts.subarray(0, first + 1).reduce((sum, count) => sum + count, 0)
  return { first, counts: kept }
}

function outliers(magnitudes: Float64Array, w2: number, weights: number): number {
  const limit = OUTLIER_RMS * Math.sqrt(w2 / weights)
  return magnitudes.reduce((sum, count, bin) => sum + (count > 0 && binEdge(bin) >= limit ? count : 0), 0)
}
