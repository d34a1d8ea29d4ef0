/**
 * The seam between the engines, which know streams, and the formats, which know bytes. A format is a folder of functions:
 * `open` says what a file holds and where it stands, `layout` where it will stand. Nothing outside its folder knows a
 * byte of it.
 */
import type { ByteSource } from '../model/byte-source.js'
import { AprError, printable } from '../model/errors.js'
import type { FileIdentity, Model, ModelOf } from '../model/model.js'
import type { TensorInfo } from '../model/tensor.js'

/** What a model is opened from: a file or a folder, and what stands beside it. */
export interface ModelInput {
  /** Path or URL as it was given, for messages. */
  readonly name: string
  /** The file; undefined where the input is a folder. */
  readonly file: ByteSource | undefined
  /** Names of the file and of the folder it stands in, without their paths; '' where there is none or nobody knows. */
  readonly fileName: string
  readonly folderName: string
  /**
   * Names of the files in the folder; of a source that is no local file, none.
   * @param inside name of a folder in it, whose files are meant; where there is none, none
   */
  list(inside?: string): Promise<readonly string[]>
  /** Whether nobody tells what there is in the folder, as of a plain HTTP server: then files are asked for by their names. */
  readonly isUnlisted?: boolean
  /**
   * Opens a file of the folder by its name; undefined where there is none. It is closed with the input.
   * @param inside name of a folder in it, whose file is meant
   * @throws AprError `APR_BAD_INDEX` for a name that leads out of the folder
   */
  open(fileName: string, inside?: string): Promise<ByteSource | undefined>
  /** Fails when one of the files is no longer what it was when it was opened. */
  checkUnchanged(): Promise<void>
  /** Closes all that was opened; a second call does nothing. */
  close(): Promise<void>
}

/** What of a model is to be read in another way than usual. */
export interface Reading {
  /** What weights that are stored in FP8 are read as: products in f32, or these rounded. Default `BF16`. */
  readonly fp8?: 'BF16' | 'F32' | undefined
}

/** A tensor and where its data stands. */
export interface PlacedTensor {
  readonly tensor: TensorInfo
  /** In which of the model's files: an index. */
  readonly file: number
  /** Absolute offset of its data in that file, in bytes. */
  readonly position: number
  /** Bytes behind its data that are read with it, and must be zero. */
  readonly padding: number
}

/** An input whose model is known: all was checked that can be without reading a tensor. */
export interface OpenedModelOf<M extends ModelOf<string>> {
  readonly input: ModelInput
  /** What tensors are read from, by their `file`. */
  readonly sources: readonly ByteSource[]
  readonly model: M
  /** One a tensor, in the order in which they are read. */
  readonly tensors: readonly PlacedTensor[]
  /** Bytes of all files of the model. */
  readonly size: number
  /** What changes whenever the content of one of the files does; undefined where that cannot be told. */
  readonly version: string | undefined
  /** Whether the file has a checksum over all of its bytes. */
  readonly hasChecksum: boolean
  /** What `inspect` tells of the file: its version, flags and metadata. */
  describe(): FileDescription
  /** Takes note of some of a tensor's bytes: each once, a tensor's own in their order. */
  passed(tensor: PlacedTensor, data: Uint8Array): void
  /** The same of all of a tensor's bytes, looked at elsewhere: their CRC-32. Where there is a checksum. */
  passedAs?(tensor: PlacedTensor, crc32: number): void
  /**
   * Checks what no tensor holds, and what only all of them tell: called when every byte of every tensor has passed.
   * @throws AprError for every rule of the format that can be broken there
   */
  finish(): Promise<void>
}

/** What a file tells of itself beside its tensors. What a format does not have is left out. */
export interface FileDescription {
  /** Of the format; '' where it has none. */
  readonly version: string
  /** The header's flag bits, and the names of those that are set. */
  readonly flags?: number
  readonly flagNames?: readonly string[]
  /** The metadata, as values. */
  readonly metadata: Readonly<Record<string, unknown>>
  /** The metadata as it stands in the file, where that is a text. */
  readonly metadataText?: string
  /** By key the types of the metadata's values, where they have types. */
  readonly metadataTypes?: Readonly<Record<string, string>>
  /** Bytes of the files beside the tensors' that belong to the model, by name. */
  readonly sideFiles?: Readonly<Record<string, number>>
}

/** A key of the metadata. */
export interface MetadataEntry {
  readonly key: string
  /** As the format calls it. */
  readonly type: string
  /** The value, or of a long array its first elements; left out where it is a long text that stands for something else. */
  readonly value?: unknown
  /** Elements of an array that was cut, or characters of a text that was left out. */
  readonly length?: number
}

/** One of the files that make up an output. */
export interface FileLayout {
  /** Its name, in the folder of the output. */
  readonly name: string
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
  /** What the file ends with where that follows from the CRC-32 of all bytes before it; else all its end is zeros. */
  readonly checksum?: { readonly bytes: number; readonly encode: (crc32: number) => Uint8Array }
}

/** Where everything stands in a model that is to be written. Known in whole before the first byte of data. */
export interface Layout {
  /** One at least. The first is the one by which the others are found: it takes its place last. */
  readonly files: readonly [FileLayout, ...FileLayout[]]
  /** In the order of the files, and in each in that of their places. */
  readonly tensors: readonly PlacedTensor[]
}

/** How a model is to be written. */
export interface LayoutOptions {
  /** Name of the output, without its path: that of the file, or where there are several what theirs are made of. */
  readonly name: string
  /** Whether the output is a folder of its own, which then also holds what belongs to the model beside its tensors. */
  readonly isFolder: boolean
  /** Bytes of a file at the most, as far as a tensor's own size allows it. Undefined: one file. */
  readonly maxFileBytes?: number | undefined
  /** Tensors of a file at the most. Undefined: all. */
  readonly maxFileTensors?: number | undefined
  /** Tensors of each file, where it is to be cut just so. */
  readonly fileTensors?: readonly number[] | undefined
}

/** A format: what the engines and the stages ask of it. Pure, but for the reads of `open` and `finish`. */
export interface FormatOf<M extends ModelOf<string>> {
  readonly name: M['format']
  /** How the names of its files end: `.apr`. */
  readonly extension: string
  /** Name of a model's file in a folder of its own; undefined where models are files and never folders. */
  readonly nameInFolder?: string
  /** Whether a model may be cut into several files. */
  readonly isSplittable: boolean
  /** Whether readers of an output of this name take a file beside it for a part of it, by the file's name. */
  isPart?(name: string, fileName: string): boolean
  /** Whether a file that starts with these bytes is of this format; of a folder there are none. */
  matches(start: Uint8Array | undefined, fileName: string): boolean
  /**
   * Reads what stands before the data, and checks it. Closes nothing.
   * @throws AprError for every rule of the format that can be broken there
   */
  open(input: ModelInput, reading?: Reading): Promise<OpenedModelOf<M>>
  /** @throws AprError for what the format cannot hold, `APR_BAD_INDEX` for two tensors of one name */
  layout(model: M, options: LayoutOptions): Layout
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
  /** The metadata as it will be written, key by key, long values cut: what a plan tells. */
  describeMetadata(model: M): MetadataEntry[]
  /** Bytes of metadata, for estimates of memory. */
  metadataBytes(model: M): number
}

/** Any of the formats, and a model opened as any of them. */
export type Format = FormatOf<Model>
export type OpenedModel = OpenedModelOf<Model>

/**
 * A name out of a file is data: it must stay in its folder.
 * @throws AprError `APR_BAD_INDEX`
 */
export function checkFileName(fileName: string, file: string): void {
  if (fileName !== '' && fileName !== '.' && fileName !== '..' && !/[/\\\0]/.test(fileName)) return
  const what = `expected the name of a file in the same folder, found "${printable(fileName)}"`
  throw new AprError('APR_BAD_INDEX', what, { file })
}

/** Which local files a model comes from, with the permissions that all of them give. */
export function originOf(sources: readonly ByteSource[]): FileIdentity | undefined {
  const [first, ...others] = sources.flatMap(({ identity }) => (identity ? [identity] : []))
  if (!first || others.length === 0) return first
  const mode = others.reduce((bits, other) => bits & (other.mode ?? 0o777), first.mode ?? 0o777)
  return { ...first, mode, others }
}

/** Bytes of all files of a layout. */
export function layoutBytes({ files }: Layout): number {
  return files.reduce((sum, { fileSize }) => sum + fileSize, 0)
}

/**
 * The file that an input is, for a format of single files.
 * @throws an error as of reading a folder
 */
export function fileOf({ file, name }: ModelInput): ByteSource {
  if (file) return file
  const error = new Error(`EISDIR: expected a file, found a directory, '${name}'`)
  throw Object.assign(error, { code: 'EISDIR', path: name })
}

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
