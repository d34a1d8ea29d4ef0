import { getStreamError, Writable } from 'streamx'
import { AprError, printable } from '../model/errors.js'
import { turn } from './event-loop.js'
import type { Format, Layout, PlacedTensor } from '../formats/format.js'
import { FORMATS } from '../formats/formats.js'
import type { Model, ModelOf } from '../model/model.js'
import type { TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import { ArrivedBytes, checkSameTensor } from '../records/arrived-bytes.js'
import { ArrivedTensors, isSameTensor } from '../records/arrived-tensors.js'
import { release, takeOver } from '../records/buffers.js'
import { settledModel } from './changed-model.js'
import { checkOptions, takeOptions, type Checked } from '../options/check.js'
import { GGUF_WRITER_OPTIONS, SAFETENSORS_WRITER_OPTIONS, WRITER_OPTIONS } from '../options/table.js'
import type { ModelOutput } from '../files/output/model-output.js'
import { openModelOutput } from '../files/output/open-model-output.js'
import { findPlace, outputPath } from '../files/output/output-place.js'
import type { Ending } from '../files/output/part.js'
import type { Move } from '../files/output/rearrange.js'
import { toOutput } from '../files/path.js'
import { writableFace, type TensorWritable } from './face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from './streamx.js'
import { WriteWindow } from '../files/output/write-window.js'

export interface WriterOptions {
  /** Replace an existing file. Default false: an existing file is an error. */
  overwrite?: boolean | undefined
  /** Bytes that are on their way to the file at the most; at least one record. Default 4 MiB. */
  highWaterMark?: number | undefined
}

export interface GgufWriterOptions extends WriterOptions {
  /**
   * Bytes of data in a file at the most, as far as a tensor's own size allows it; header and padding come on top.
   * Default: one file.
   */
  splitMaxBytes?: number | undefined
}

export interface SafetensorsWriterOptions extends WriterOptions {
  /**
   * Bytes of data in a file at the most, as far as a tensor's own size allows it: a larger model becomes shards with an
   * index. Default: one file.
   */
  shardMaxBytes?: number | undefined
}

type EngineOptions = Checked<WriterOptions, typeof WRITER_OPTIONS> & Pick<FormatWriterOptions, 'maxFileBytes'>

/** How a writer cuts a model into files; each format has a public name of its own for it. */
export interface FormatWriterOptions extends WriterOptions {
  /** Bytes of a file at the most, as far as a tensor's own size allows it. Default: one file. */
  maxFileBytes?: number | undefined
}

/** What has arrived of one tensor. */
interface Arrival {
  readonly tensor: TensorInfo
  /** Where its data stands in the partial files. */
  readonly file: number
  readonly position: number
  /** Bytes behind it that no tensor has. */
  readonly padding: number
  readonly bytes: ArrivedBytes
  /** Bytes that are in the file. */
  written: number
}

/**
 * Writes an APR file. The first record's model says the whole layout, so every record is written at its place in one
 * pass, in whatever order they come, each byte of a tensor once. At the end come header, index and checksum, then one
 * rename: the file appears whole or not at all, and what stood there is untouched until then.
 *
 * What arrives counts, not what was announced: where stages in between dropped or changed tensors without changing the
 * model, the data is moved once at the end, and metadata and flags are those that the stages behind would have announced.
 *
 * @param path a path, a `file:` URL, or `s3://bucket/key`
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error `APR_EXISTS`, `APR_SAME_FILE`, `APR_BAD_RECORD` for
 *   records that make no file, `APR_BAD_INDEX`, `APR_LIMIT`, and the file system's own errors
 */
export function aprWriter(path: string | URL, options: WriterOptions = {}): TensorWritable {
  return makeWriter(FORMATS.apr, path, checkOptions(options, WRITER_OPTIONS))
}

/**
 * Writes a GGUF file: as `aprWriter`, with the bytes that llama.cpp's own converter writes for such a model. With
 * `splitMaxBytes` a larger model becomes files `x-00001-of-00003.gguf` and so on, of `x.gguf`, cut as by its
 * `--split-max-size`; all of them appear, or none.
 */
export function ggufWriter(path: string | URL, options: GgufWriterOptions = {}): TensorWritable {
  const { splitMaxBytes, ...rest } = checkOptions(options, GGUF_WRITER_OPTIONS)
  return makeWriter(FORMATS.gguf, path, { ...rest, maxFileBytes: splitMaxBytes })
}

/**
 * Writes safetensors: as `aprWriter`. A path that ends with a slash, or that is a folder, becomes a folder with
 * `model.safetensors` and the files that belong to the model: configuration, tokenizer, model card.
 */
export function safetensorsWriter(path: string | URL, options: SafetensorsWriterOptions = {}): TensorWritable {
  const { shardMaxBytes, ...rest } = checkOptions(options, SAFETENSORS_WRITER_OPTIONS)
  return makeWriter(FORMATS.safetensors, path, { ...rest, maxFileBytes: shardMaxBytes })
}

/** A writer of a format. */
export function formatWriter(format: Format, path: string | URL, options: FormatWriterOptions = {}): TensorWritable {
  const { maxFileBytes, ...rest } = options
  return makeWriter(format, path, { ...checkOptions(rest, WRITER_OPTIONS), maxFileBytes })
}

function makeWriter(format: Format, path: string | URL, options: EngineOptions): TensorWritable {
  return writableFace(new ModelWriter(format, toOutput('the output', path), undefined, options))
}

/** Writes to an output that is open already; what it holds from an earlier run counts as arrived. */
export function writeOpened(format: Format, output: ModelOutput, options: WriterOptions = {}): TensorWritable {
  const { path } = output.place
  return writableFace(new ModelWriter(format, path, output, takeOptions(options, WRITER_OPTIONS)))
}

/** The engine: puts records at the places that the format gives them. Knows no format. */
class ModelWriter extends Writable {
  readonly #format: Format
  /** As it was given, and as it was meant then. */
  readonly #given: string
  readonly #path: string
  /** Aborted when the stream is destroyed. */
  readonly #ended = new AbortController()
  readonly #options: EngineOptions
  #output: ModelOutput | undefined
  #window: WriteWindow | undefined
  #announced: Model | undefined
  /** The model of the last record: a stage may have changed the metadata on the way. */
  #model: Model | undefined
  /** Where tensors go that were not announced: behind what was. */
  readonly #tail = { file: 0, position: 0 }
  readonly #places = new Map<string, PlacedTensor>()
  readonly #arrivals = new Map<string, Arrival>()
  readonly #arrived = new ArrivedTensors()

  constructor(format: Format, path: string, output: ModelOutput | undefined, options: EngineOptions) {
    super({ highWaterMark: QUEUE_BYTES, byteLength: recordBytes })
    this.#format = format
    this.#given = path
    this.#path = output ? path : outputPath(path, format.nameInFolder !== undefined)
    this.#output = output
    this.#options = options
  }

  override _write(record: unknown, done: Done): void {
    bridge(() => this.#accept(checkIsRecord(record)), done)
  }

  override _final(done: Done): void {
    bridge(() => this.#finish(), done)
  }

  /** At once, unlike _destroy, which waits for the write that is under way: another job may follow. */
  override _predestroy(): void {
    this.#ended.abort()
  }

  override _destroy(done: Done): void {
    bridge(async () => {
      await this.#window?.settled()
      await this.#output?.discard()
    }, done)
  }

  async #accept(record: TensorRecord): Promise<void> {
    if (this.#model === undefined) await this.#reserve(record.model)
    const { window } = this.#opened()
    this.#model = record.model
    if (record.offset === 0) this.#arrived.add(record, record.model.tensors)
    const arrival = this.#arrivals.get(record.name) ?? this.#begin(record)
    const { tensor, file, bytes } = arrival
    checkSameTensor(record, tensor)
    bytes.add(record)
    const data = takeOver(record)
    const { length } = data
    const free = (): void => release(data)
    const isEnd = record.offset + length === tensor.size
    const place = { file, position: arrival.position + record.offset, padding: isEnd ? arrival.padding : 0 }
    await window.write(data, place, free, () => this.#written(arrival, length))
  }

  /** Some of a tensor's bytes are in the file; the journal notes the tensor when all are. */
  #written(arrival: Arrival, length: number): void {
    arrival.written += length
    const { tensor, file, position, bytes, written } = arrival
    if (written < tensor.size || !bytes.isComplete) return
    const entry = { name: tensor.name, ...(file > 0 && { file }), position, size: tensor.size, crc: bytes.crc }
    // The journal's own failure shows when it is closed, or in the next write.
    this.#output?.note(entry).catch(() => undefined)
  }

  /** Lays the output out as the model announces it, and takes it: nothing has touched it until now. */
  async #reserve(model: Model): Promise<void> {
    this.#checkFormat(model)
    const { overwrite, maxFileBytes, highWaterMark } = this.#options
    const format = this.#format
    const place = this.#output?.place ?? (await findPlace(this.#path, format.nameInFolder, maxFileBytes))
    const layout = format.layout(model, place)
    const asked = { overwrite, isPart: format.isPart?.bind(format, place.name), origin: model.origin }
    const output = (this.#output ??= await openModelOutput(place, layout, { ...asked, signal: this.#ended.signal }))
    this.#window = new WriteWindow(output, highWaterMark)
    for (const placed of layout.tensors) this.#places.set(placed.tensor.name, placed)
    this.#announced = model
    this.#tail.file = layout.tensors.at(-1)?.file ?? 0
    this.#tail.position = layout.files[this.#tail.file]?.fileSize ?? 0
    for (const { name, file = 0, position, crc } of output.resumed.values()) {
      const tensor = this.#places.get(name)?.tensor
      if (!tensor) continue
      this.#arrived.add(tensor, model.tensors)
      const bytes = new ArrivedBytes(tensor, crc)
      this.#arrivals.set(name, { tensor, file, position, padding: 0, bytes, written: tensor.size })
    }
  }

  /** The first record of a tensor: it goes to its announced place, or behind everything that was announced. */
  #begin(record: TensorRecord): Arrival {
    this.#format.checkTensor(record)
    const { name, dtype, shape, size } = record
    const announced = this.#places.get(name)
    let { file, position, padding } = { ...this.#tail, padding: 0 }
    if (announced?.tensor.size === size) ({ file, position, padding } = announced)
    else this.#tail.position += size
    // Asked for once: of tens of thousands of tensors what is done with is let go.
    this.#places.delete(name)
    const isAnnounced = announced !== undefined && isSameTensor(announced.tensor, record)
    const tensor = isAnnounced ? announced.tensor : { name, dtype, shape, size }
    const arrival = { tensor, file, position, padding, bytes: new ArrivedBytes(tensor), written: 0 }
    this.#arrivals.set(name, arrival)
    return arrival
  }

  async #finish(): Promise<void> {
    if (this.#model === undefined) {
      throw new AprError('APR_BAD_RECORD', 'expected at least one tensor, found a stream without any', {
        file: this.#given,
      })
    }
    const { output, window } = this.#opened()
    for (const { bytes } of this.#arrivals.values()) bytes.checkComplete()
    await window.flush()
    const model = await this.#settle(this.#model)
    await turn()
    const layout = this.#format.layout(model, output.place)
    const crc = (name: string): number => this.#arrivals.get(name)?.bytes.crc ?? 0
    await output.commit(endingsOf(layout, crc), () => {
      // The stream was ended while its last bytes were on their way.
      if (this.destroying) throw getStreamError(this) ?? new Error('the stream was ended')
    })
  }

  /** The model of what arrived. Where that is not what was announced, its data is moved to its places. */
  async #settle(model: Model): Promise<Model> {
    this.#checkFormat(model)
    const settled = settledModel(model, this.#arrived)
    if (settled === this.#announced) return settled
    const { output } = this.#opened()
    const { files, tensors } = this.#format.layout(settled, output.place)
    const moves = tensors.map(({ tensor: { name, size }, file, position }): Move => {
      const { file: from, position: start } = this.#arrivals.get(name) ?? { file, position }
      return { from: { file: from, position: start }, to: { file, position }, size }
    })
    const isInPlace = moves.every(({ from, to }) => from.file === to.file && from.position === to.position)
    if (!isInPlace || !output.hasFiles(files)) await output.rearrange(files, moves)
    return settled
  }

  /** @throws AprError `APR_BAD_RECORD` for a model of another format: what of it this one holds is no guess of ours */
  #checkFormat({ format }: ModelOf<string>): void {
    const { name } = this.#format
    if (format === name) return
    throw new AprError('APR_BAD_RECORD', `expected a model of the format ${name}, found one of ${printable(format)}`)
  }

  #opened(): { output: ModelOutput; window: WriteWindow } {
    if (!this.#output || !this.#window) throw new Error('the writer is not open')
    return { output: this.#output, window: this.#window }
  }
}

/**
 * What the files of a layout end with.
 * @param crc the CRC-32 of a tensor's data, by the tensor's name
 */
export function endingsOf({ files }: Layout, crc: (name: string) => number): (file: number) => Promise<Ending> {
  return async (file) => {
    const layout = files[file]
    if (!layout) throw new Error(`a layout of ${files.length} files has no file ${file}`)
    const { fileSize, sealBytes } = layout
    // A head can be megabytes of names and vocabulary.
    const head = layout.head()
    await turn()
    return { head, sealBytes, tail: layout.tail(head, crc), fileSize }
  }
}
