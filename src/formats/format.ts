/**
 * The seam between the engines, which know streams, and the formats, which know bytes. A format is a folder of functions:
 * `open` says what a file holds and where it stands, `layout` where it will stand. Nothing outside its folder knows a
 * byte of it.
 */
import type { ByteSource } from '../model/byte-source.js'
import { AprError } from '../model/errors.js'
import type { Model, ModelOf } from '../model/model.js'
import type { TensorInfo } from '../model/tensor.js'

/** A tensor and where its data stands. */
export interface PlacedTensor {
  readonly tensor: TensorInfo
  /** Absolute offset of its data in the file, in bytes. */
  readonly position: number
  /** Bytes behind its data that are read with it, and must be zero. */
  readonly padding: number
}

/** A source whose model is known: all was checked that can be without reading a tensor. */
export interface OpenedModelOf<M extends ModelOf<string>> {
  readonly source: ByteSource
  readonly model: M
  /** One a tensor, in the order in which they are read. */
  readonly tensors: readonly PlacedTensor[]
  /** Whether the file has a checksum over all of its bytes. */
  readonly hasChecksum: boolean
  /** What `inspect` tells of the file: its version, flags and metadata. */
  describe(): FileDescription
  /** Takes note of some of a tensor's bytes: each once, a tensor's own in their order. */
  passed(tensor: PlacedTensor, data: Uint8Array): void
  /**
   * Checks what no tensor holds, and what only all of them tell: called when every byte of every tensor has passed.
   * @throws AprError for every rule of the format that can be broken there
   */
  finish(): Promise<void>
}

/** What a file tells of itself beside its tensors. */
export interface FileDescription {
  readonly version: string
  /** The header's flag bits, and the names of those that are set. */
  readonly flags: number
  readonly flagNames: readonly string[]
  /** The metadata, parsed; `metadataText` holds it as it stands in the file. */
  readonly metadata: Readonly<Record<string, unknown>>
  readonly metadataText: string
}

/** Where everything stands in a file that is to be written. Known in whole before the first byte of data. */
export interface Layout {
  /** In the order of the file. */
  readonly tensors: readonly PlacedTensor[]
  /** Bytes of the whole file. */
  readonly fileSize: number
  /** Bytes before the data. The first `sealBytes` of them are written last: without these nobody takes the file for whole. */
  readonly sealBytes: number
  head(): Uint8Array
  /**
   * The bytes behind the data.
   * @param head what `head` has given
   * @param crc the CRC-32 of a tensor's data, by the tensor's name
   */
  tail(head: Uint8Array, crc: (name: string) => number): Uint8Array
}

/** A format: what the engines and the stages ask of it. Pure, but for the reads of `open` and `finish`. */
export interface FormatOf<M extends ModelOf<string>> {
  readonly name: M['format']
  /**
   * Reads what stands before the data, and checks it. Does not close the source.
   * @throws AprError for every rule of the format that can be broken there
   */
  open(source: ByteSource): Promise<OpenedModelOf<M>>
  /** @throws AprError for what the format cannot hold, `APR_BAD_INDEX` for two tensors of one name */
  layout(model: M): Layout
  /** @throws AprError for a tensor that the format cannot hold */
  checkTensor(tensor: TensorInfo): void
  /** Whether a tensor's size is one that its dtype and shape can have in this format. */
  isPossibleSize(tensor: TensorInfo): boolean
  /** The same model with other tensors, and with them what the format tells of them. */
  withTensors(model: M, tensors: readonly TensorInfo[]): M
  /** The same model with these tensors, of which some were quantized, or with `isQuantized` false just widened. */
  withQuantized(model: M, tensors: readonly TensorInfo[], isQuantized: boolean): M
  /** The metadata, as values. */
  metadata(model: M): Readonly<Record<string, unknown>>
  /** The same model with some of its metadata set, or removed where undefined; a model of its own also without changes. */
  withMetadata(model: M, changes: Readonly<Record<string, unknown>>): M
  /** Bytes of metadata, for estimates of memory. */
  metadataBytes(model: M): number
}

/** Any of the formats, and a model opened as any of them. */
export type Format = FormatOf<Model>
export type OpenedModel = OpenedModelOf<Model>

/**
 * Checks bytes that no tensor has.
 * @param position of the first of them in the file
 * @throws AprError `APR_BAD_PADDING`
 */
export function checkZero(bytes: Uint8Array, position: number, file: string): void {
  const index = bytes.findIndex((byte) => byte !== 0)
  if (index < 0) return
  const what = `expected zeros between the sections of the file, found the byte ${bytes[index]}`
  throw new AprError('APR_BAD_PADDING', what, { file, offset: position + index })
}
