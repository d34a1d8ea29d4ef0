/**
 * What is counted and summed of a tensor's pairs: of some of them, or of all. Plain data, so that it can come from another
 * thread; addable in any order.
 */
import { elementCount, columnsOf, matricesOf, rowsOf, type TensorInfo } from '../model/tensor.js'
import { BINS } from './error-kernel.js'
import { addSums, E2, newSums, sumOf, W2 } from './sums.js'

/** Rows that are named. */
const WORST_ROWS = 4
/** Bins of a decibel. */
export const ROW_BINS = 64

/** How a tensor's elements stand in rows and matrices. */
export interface Rows {
  /** Elements of a row, 1 at the least. */
  readonly columns: number
  readonly matrixRows: number
  readonly matrices: number
}

/** A row: its sums, and how many of its elements are in them. */
export interface OpenRow {
  readonly row: number
  elements: number
  readonly sums: Float64Array
}

export interface RowSums {
  readonly row: number
  readonly w2: number
  readonly e2: number
}

export interface PairAt {
  /** Counted from the tensor's first. */
  readonly element: number
  readonly w: number
  readonly v: number
}

export interface NotFinite extends PairAt {
  readonly pairs: number
  readonly inA: number
  readonly inB: number
}

export interface Tally {
  /** All pairs that came, those that are not finite too. */
  elements: number
  readonly sums: Float64Array
  /** By half octaves. */
  readonly magnitudes: Float64Array
  readonly errors: Float64Array
  /** Whole rows by decibels, and the worst of them, the worst first. */
  readonly rowSnr: Float64Array
  worstRows: RowSums[]
  /** Of which only a part came. */
  openRows: OpenRow[]
  /** Sums of the matrices whose rows came, by their index; where there is one matrix none. */
  readonly matrices: Map<number, Float64Array>
  /** The greatest |e|, f32, and where it is. */
  greatest: (PairAt & { readonly error: number }) | undefined
  notFinite: NotFinite | undefined
  /** Blocks of `b` that are all zero where `a` is not. */
  lostBlocks: number
}

export function rowsOfTensor(tensor: TensorInfo): Rows {
  const isEmpty = elementCount(tensor.shape) === 0
  const matrices = tensor.shape.slice(0, -2).reduce((product, dimension) => product * dimension, 1)
  return isEmpty
    ? { columns: 1, matrixRows: 1, matrices: 1 }
    : { columns: columnsOf(tensor), matrixRows: rowsOf(tensor), matrices: Math.max(matrices, matricesOf(tensor)) }
}

export function newTally(): Tally {
  return {
    elements: 0,
    sums: newSums(),
    magnitudes: new Float64Array(BINS),
    errors: new Float64Array(BINS),
    rowSnr: new Float64Array(ROW_BINS),
    worstRows: [],
    openRows: [],
    matrices: new Map(),
    greatest: undefined,
    notFinite: undefined,
    lostBlocks: 0,
  }
}

/** Adds a tally of other elements of the same tensor. */
export function addTally(tally: Tally, other: Tally, rows: Rows): void {
  tally.elements += other.elements
  addSums(tally.sums, other.sums)
  addCounts(tally.magnitudes, other.magnitudes)
  addCounts(tally.errors, other.errors)
  addCounts(tally.rowSnr, other.rowSnr)
  for (const row of other.worstRows) noteRow(tally, row)
  for (const [matrix, sums] of other.matrices) addSums(sumsOfMatrix(tally, matrix), sums)
  if (other.greatest) noteGreatest(tally, other.greatest)
  if (other.notFinite) noteNotFinite(tally, other.notFinite)
  tally.lostBlocks += other.lostBlocks
  for (const row of other.openRows) addOpenRow(tally, row, rows)
}

/** Adds a part of a row, whose sums are in those of the tensor already. */
export function addOpenRow(tally: Tally, part: OpenRow, rows: Rows): void {
  if (part.elements === rows.columns) {
    closeRow(tally, part, rows)
    return
  }
  const open = tally.openRows.find(({ row }) => row === part.row)
  if (!open) {
    tally.openRows.push({ ...part, sums: part.sums.slice() })
    return
  }
  open.elements += part.elements
  addSums(open.sums, part.sums)
  if (open.elements < rows.columns) return
  tally.openRows = tally.openRows.filter((other) => other !== open)
  closeRow(tally, open, rows)
}

function closeRow(tally: Tally, { row, sums }: OpenRow, { matrixRows, matrices }: Rows): void {
  if (matrices > 1) addSums(sumsOfMatrix(tally, Math.floor(row / matrixRows)), sums)
  const [w2, e2] = [sumOf(sums, W2), sumOf(sums, E2)]
  const bin = e2 === 0 ? ROW_BINS - 1 : w2 === 0 ? 0 : Math.floor(10 * Math.log10(w2 / e2))
  const place = Math.min(ROW_BINS - 1, Math.max(0, bin))
  tally.rowSnr[place] = (tally.rowSnr[place] as number) + 1
  if (e2 > 0) noteRow(tally, { row, w2, e2 })
}

function sumsOfMatrix({ matrices }: Tally, matrix: number): Float64Array {
  const sums = matrices.get(matrix) ?? newSums()
  matrices.set(matrix, sums)
  return sums
}

function noteRow(tally: Tally, row: RowSums): void {
  const { worstRows } = tally
  const last = worstRows[WORST_ROWS - 1]
  if (last && !isWorse(row, last)) return
  worstRows.push(row)
  worstRows.sort((one, other) => (isWorse(one, other) ? -1 : 1))
  worstRows.length = Math.min(worstRows.length, WORST_ROWS)
}

function isWorse(one: RowSums, other: RowSums): boolean {
  const [a, b] = [one.w2 / one.e2, other.w2 / other.e2]
  return a < b || (a === b && one.row < other.row)
}

export function noteGreatest(tally: Tally, found: PairAt & { readonly error: number }): void {
  const { greatest } = tally
  const isLess =
    greatest && (found.error < greatest.error || (found.error === greatest.error && greatest.element < found.element))
  if (!isLess) tally.greatest = found
}

export function noteNotFinite(tally: Tally, found: NotFinite): void {
  const { notFinite: before } = tally
  const first = before && before.element < found.element ? before : found
  const { element, w, v } = first
  const [pairs, inA, inB] = [before?.pairs ?? 0, before?.inA ?? 0, before?.inB ?? 0]
  tally.notFinite = { element, w, v, pairs: pairs + found.pairs, inA: inA + found.inA, inB: inB + found.inB }
}

function addCounts(counts: Float64Array, other: Float64Array): void {
  for (let bin = 0; bin < counts.length; bin++) counts[bin] = (counts[bin] as number) + (other[bin] as number)
}
