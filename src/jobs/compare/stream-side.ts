/** Reads one side from front to back: slices of the tensors that are compared, as the other side names them. */
import type { OpenedModel } from '../../formats/format.js'
import { DTYPES } from '../../model/dtypes.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { TensorRecord } from '../../model/record.js'
import { createSimdKernel } from '../../quant/simd.js'
import type { Slice } from '../../quality/pairs.js'
import { PieceConverter, type PlacedPiece } from '../../records/piece-converter.js'
import { takeOver } from '../../records/buffers.js'
import { RecordSlices, tensorOf } from '../../records/record-slice.js'
import { readOpened } from '../../streams/reader.js'
import type { Side } from './sides.js'

/** Bytes of a record: the other side's part of it may be several times as large. */
const RECORD_BYTES = 1024 * 1024
const HIGH_WATER_MARK = 4 * 1024 * 1024

/** Some of a tensor's elements, whose memory is the consumer's. */
export interface SideSlice {
  readonly tensor: TensorInfo
  readonly first: number
  readonly elements: number
  readonly slice: Slice
}

/**
 * @param names of the tensors that are wanted
 * @param onRead called with each record that was read
 */
export async function* streamSide(
  { opened, targets }: Side,
  names: ReadonlySet<string>,
  onRead: (record: TensorRecord) => void,
): AsyncGenerator<SideSlice> {
  if (!targets) {
    const slices = new RecordSlices()
    for await (const record of readOpened(only(opened, names), {
      recordBytes: RECORD_BYTES,
      highWaterMark: HIGH_WATER_MARK,
    })) {
      onRead(record)
      yield { tensor: tensorOf(record), ...slices.of(record, takeOver(record)) }
    }
    return
  }
  const wanted = targets.filter(({ tensor }) => names.has(tensor.name))
  const pieces = new Map<string, PlacedPiece[]>()
  for (const { tensor: target, pieces: parts, made } of wanted) {
    if (made) yield madeSlice(target, made)
    for (const piece of parts) pieces.set(piece.source, [...(pieces.get(piece.source) ?? []), { piece, target }])
  }
  const converter = new PieceConverter(createSimdKernel())
  const sources = only(opened, new Set(pieces.keys()))
  for await (const record of readOpened(sources, { recordBytes: RECORD_BYTES, highWaterMark: HIGH_WATER_MARK })) {
    onRead(record)
    for (const { target, offset, data } of converter.convert(record, pieces.get(record.name) ?? [])) {
      const { blockBytes } = DTYPES[target.dtype]
      const first = offset / blockBytes
      const slice = { dtype: target.dtype, data, firstBlock: first }
      yield { tensor: target, first, elements: data.length / blockBytes, slice }
    }
  }
  converter.checkComplete()
}

/** The model without the tensors that are not wanted, which are not read. Nothing is checked but what is read. */
function only(opened: OpenedModel, names: ReadonlySet<string>): OpenedModel {
  const { input, sources, model, size, version, hasChecksum } = opened
  return {
    ...{ input, sources, model, size, version, hasChecksum },
    tensors: opened.tensors.filter(({ tensor }) => names.has(tensor.name)),
    describe: () => opened.describe(),
    passed: () => undefined,
    finish: () => Promise.resolve(),
  }
}

function madeSlice(tensor: TensorInfo, made: Float32Array): SideSlice {
  const data = new Uint8Array(made.slice().buffer)
  return { tensor, first: 0, elements: made.length, slice: { dtype: 'F32', data, firstBlock: 0 } }
}
