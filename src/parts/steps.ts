/**
 * Cuts the making of some bytes of a tensor into steps, each of as much as is read and converted at once. A step is of whole
 * blocks, so the first and the last may make more than is asked for.
 */
import type { PlacedTensor } from '../formats/format.js'
import { DTYPES } from '../model/dtypes.js'
import { elementBytes, resultOffset, sourceElements, unitsEnd, type ElementRange } from '../records/record-runs.js'
import type { PartRange, PartTensor, SourcePiece } from './part-tensor.js'

/** Bytes of a source's tensor. */
export interface Read {
  readonly source: PlacedTensor
  /** Bytes from the tensor's start, without padding. */
  readonly start: number
  readonly end: number
  /** Of these the ones that no other step of the whole output has for its own. */
  readonly ownStart: number
  readonly ownEnd: number
  /** What is made of them; of a tensor that is taken as it is none. */
  readonly piece?: SourcePiece
}

export interface Step {
  readonly part: PartTensor
  /** Elements of `part.from`; where its bytes are passed on as they are, blocks of its dtype. */
  readonly elements: ElementRange
  /** Bytes of `part.from`, or where it is converted none. */
  readonly reads: readonly Read[]
  /** Whether the first bytes of the tensor are read too: they hold its scale. */
  readonly head: Read | undefined
  /** False for what is made only because a border cuts it: who makes its first bytes counts it. */
  readonly isOwn: boolean
}

/** @param maxBytes that a step reads at the most, where its smallest parts allow it */
export function* stepsOf({ part, start, end }: PartRange, maxBytes: number): Generator<Step> {
  if (start >= end) return
  const whole = elementsOf(part, start, end)
  // What a border cuts at the front is its first owner's.
  const before = start === 0 ? whole.first : Math.min(whole.end, elementsOf(part, 0, start).end)
  if (before > whole.first) yield stepOf(part, { first: whole.first, end: before }, false)
  const limit = Math.max(1, Math.floor(maxBytes / bytesPerElement(part)))
  for (let first = before; first < whole.end;) {
    const next = Math.min(whole.end, stepEnd(part, first, limit))
    yield stepOf(part, { first, end: next }, true)
    first = next
  }
}

/**
 * Cuts a tensor into ranges, each of which is made of about so many bytes, and nothing twice.
 * @param maxBytes of what it is made of
 */
export function* cutRanges(part: PartTensor, maxBytes: number): Generator<PartRange> {
  const { from, to, conversion } = part
  const limit = Math.max(1, Math.floor(maxBytes / bytesPerElement(part)))
  const total = elementsOf(part, 0, to.size).end
  const offsetOf = (element: number): number => {
    if (!conversion) return element * passedBytes(from.dtype)
    return resultOffset(from, { dtype: to.dtype, isWeighted: conversion.isWeighted }, element)
  }
  for (let first = 0, start = 0; start < to.size;) {
    first = Math.min(total, stepEnd(part, first, limit))
    const end = first === total ? to.size : offsetOf(first)
    yield { part, start, end }
    start = end
  }
}

/** What some bytes of a tensor read of each source for their own. */
export function* ownReads(range: PartRange): Generator<Read> {
  for (const { head, reads } of stepsOf(range, Infinity)) {
    if (head) yield head
    yield* reads
  }
}

/** What is passed on is counted in blocks of its dtype, a head among them as bytes of plain ones are. */
function elementsOf({ from, to, conversion }: PartTensor, start: number, end: number): ElementRange {
  if (conversion) {
    return sourceElements(from, { dtype: to.dtype, isWeighted: conversion.isWeighted }, start, end)
  }
  const bytes = passedBytes(from.dtype)
  return { first: Math.floor(start / bytes), end: Math.min(Math.ceil(from.size / bytes), Math.ceil(end / bytes)) }
}

/** Bytes of what is passed on as one: a block, whose scale is looked at, or an element. */
export function passedBytes(dtype: PartTensor['from']['dtype']): number {
  return DTYPES[dtype].headBytes > 0 ? 1 : DTYPES[dtype].blockBytes
}

function bytesPerElement({ from, origin, conversion }: PartTensor): number {
  if (!conversion) return passedBytes(from.dtype)
  const widths = Array.isArray(origin) ? (origin as readonly SourcePiece[]).map(({ source }) => source.tensor) : []
  return Math.max(
    ...[from, ...widths.slice(0, 1)].map(({ dtype }) => DTYPES[dtype].blockBytes / DTYPES[dtype].blockElements),
  )
}

function stepEnd({ from, to, origin, conversion }: PartTensor, first: number, limit: number): number {
  const end = conversion
    ? unitsEnd(from, { dtype: to.dtype, isWeighted: conversion.isWeighted }, first, limit)
    : first + limit
  if (!Array.isArray(origin)) return end
  // Blocks of rows that change places are read whole: a step that ends inside one reads it for the next one again.
  const grain = (origin as readonly SourcePiece[]).reduce((most, { piece: { order } }) => {
    return order ? Math.max(most, order.rows * order.cols) : most
  }, 1)
  // Only where its rows are whole may a run of blocks end there.
  if (grain === 1 || grain % Math.max(1, from.shape.at(-1) ?? 1) !== 0) return end
  const whole = Math.floor(end / grain) * grain
  return whole > first ? whole : Math.ceil(end / grain) * grain
}

function stepOf(part: PartTensor, elements: ElementRange, isOwn: boolean): Step {
  const { from, origin, conversion } = part
  if (origin instanceof Float32Array) return { part, elements, reads: [], head: undefined, isOwn }
  if (!('tensor' in origin)) {
    const reads = origin.flatMap((piece) => pieceReads(piece, elements, isOwn))
    return { part, elements, reads, head: undefined, isOwn }
  }
  if (!conversion) {
    const unit = passedBytes(from.dtype)
    const [start, end] = [elements.first * unit, Math.min(from.size, elements.end * unit)]
    return { part, elements, reads: [readOf(origin, start, end, start, end, isOwn)], head: undefined, isOwn }
  }
  const { headBytes, blockElements, blockBytes } = DTYPES[from.dtype]
  const { start, end } = elementBytes(from, elements)
  const own = headBytes + Math.ceil(elements.first / blockElements) * blockBytes
  const ownStart = elements.first === 0 ? 0 : own
  const isAtStart = elements.first === 0
  const head = headBytes > 0 ? readOf(origin, 0, headBytes, 0, headBytes, isOwn && isAtStart) : undefined
  const body = readOf(origin, start, end, Math.max(start, ownStart), end, isOwn)
  return { part, elements, reads: [body], head, isOwn }
}

function readOf(
  source: PlacedTensor,
  start: number,
  end: number,
  ownStart: number,
  ownEnd: number,
  isOwn: boolean,
): Read {
  return { source, start, end, ownStart: isOwn ? Math.min(ownStart, end) : end, ownEnd: isOwn ? ownEnd : end }
}

/** What a piece has of some elements of its tensor, in whole blocks of rows. */
function pieceReads(sourced: SourcePiece, { first, end }: ElementRange, isOwn: boolean): Read[] {
  const { piece, source } = sourced
  const { from, elements, to, order } = piece
  const unit = order ? order.rows * order.cols : 1
  const low = Math.max(0, first - to)
  const high = Math.min(elements, end - to)
  if (low >= high) return []
  const bytes = DTYPES[source.tensor.dtype].blockBytes
  const at = (element: number): number => (from + element) * bytes
  const last = Math.min(elements, Math.ceil(high / unit) * unit)
  const own = Math.min(last, Math.ceil(low / unit) * unit)
  const start = Math.floor(low / unit) * unit
  return [{ ...readOf(source, at(start), at(last), at(own), at(last), isOwn), piece: sourced }]
}
