import { basename } from 'node:path'
import { getStreamError, Writable } from 'streamx'
import { crc32 } from '../checksum/crc32.js'
import { AprError, printable } from '../model/errors.js'
import { turn } from './event-loop.js'
import type { Format, Layout, PlacedTensor } from '../formats/format.js'
import { FORMATS } from '../formats/formats.js'
import type { Model, ModelOf } from '../model/model.js'
import type { TensorInfo } from '../model/tensor.js'
import type { TensorRecord } from '../model/record.js'
import { ArrivedTensors, isSameTensor } from '../records/arrived-tensors.js'
import { release, takeOver } from '../records/buffers.js'
import { settledModel } from './changed-model.js'
import { checkOptions, takeOptions, type Checked } from '../options/check.js'
import { WRITER_OPTIONS } from '../options/table.js'
import { OutputFile } from '../files/output-file.js'
import { outputPath } from '../files/output-place.js'
import { toPath } from '../files/path.js'
import { writableFace, type TensorWritable } from './face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from './streamx.js'
import { WriteWindow } from '../files/write-window.js'

export interface WriterOptions {
  /** Replace an existing file. Default false: an existing file is an error. */
  overwrite?: boolean | undefined
  /** Bytes that are on their way to the file at the most; at least one record. Default 4 MiB. */
  highWaterMark?: number | undefined
}

type CheckedWriterOptions = Checked<WriterOptions, typeof WRITER_OPTIONS>

/** What has arrived of one tensor. */
interface Arrival {
  readonly tensor: TensorInfo
  /** Absolute offset of its data in the partial file. */
  readonly position: number
  /** Bytes that have arrived, and their CRC-32. */
  received: number
  crc: number
  /** Bytes that are in the file. */
  written: number
}

/**
 * Writes an APR file. The first record's model says the whole layout, so every record is written at its place in one
 * pass, tensors in any order, the records of one tensor in theirs. At the end come header, index and checksum, then one
 * rename: the file appears whole or not at all, and what stood there is untouched until then.
 *
 * What arrives counts, not what was announced: where stages in between dropped or changed tensors without changing the
 * model, the data is moved once at the end, and metadata and flags are those that the stages behind would have announced.
 *
 * @param path a path, or a `file:` URL
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error `APR_EXISTS`, `APR_SAME_FILE`, `APR_BAD_RECORD` for
 *   records that make no file, `APR_BAD_INDEX`, `APR_LIMIT`, and the file system's own errors
 */
export function aprWriter(path: string | URL, options: WriterOptions = {}): TensorWritable {
  return formatWriter(FORMATS.apr, path, options)
}

/** Writes a GGUF file: as `aprWriter`. */
export function ggufWriter(path: string | URL, options: WriterOptions = {}): TensorWritable {
  return formatWriter(FORMATS.gguf, path, options)
}

/** Writes a safetensors file: as `aprWriter`. */
export function safetensorsWriter(path: string | URL, options: WriterOptions = {}): TensorWritable {
  return formatWriter(FORMATS.safetensors, path, options)
}

/** A writer of a format. */
export function formatWriter(format: Format, path: string | URL, options: WriterOptions = {}): TensorWritable {
  const checked = checkOptions(options, WRITER_OPTIONS)
  return writableFace(new ModelWriter(format, toPath('the output', path), undefined, checked))
}

/** Writes to an output that is open already; what it holds from an earlier run counts as arrived. */
export function writeOpened(format: Format, output: OutputFile, options: WriterOptions = {}): TensorWritable {
  return writableFace(new ModelWriter(format, output.path, output, takeOptions(options, WRITER_OPTIONS)))
}

/** The engine: puts records at the places that the format gives them. Knows no format. */
class ModelWriter extends Writable {
  readonly #format: Format
  /** As it was given, and as it was meant then. */
  readonly #path: string
  readonly #place: string
  /** Aborted when the stream is destroyed. */
  readonly #ended = new AbortController()
  readonly #overwrite: boolean
  readonly #highWaterMark: number
  #output: OutputFile | undefined
  #window: WriteWindow | undefined
  #announced: Model | undefined
  /** The model of the last record: a stage may have changed the metadata on the way. */
  #model: Model | undefined
  /** Where tensors go that were not announced. */
  #tail = 0
  readonly #places = new Map<string, PlacedTensor>()
  readonly #arrivals = new Map<string, Arrival>()
  readonly #arrived = new ArrivedTensors()

  constructor(format: Format, path: string, output: OutputFile | undefined, options: CheckedWriterOptions) {
    super({ highWaterMark: QUEUE_BYTES, byteLength: recordBytes })
    this.#format = format
    this.#path = path
    this.#place = outputPath(path)
    this.#output = output
    this.#overwrite = options.overwrite
    this.#highWaterMark = options.highWaterMark
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
    checkRecord(record, arrival)
    const data = takeOver(record)
    const position = arrival.position + arrival.received
    arrival.crc = crc32(data, arrival.crc)
    arrival.received += data.length
    const { length } = data
    const free = (): void => release(data)
    await window.write(data, position, free, () => this.#written(arrival, length))
  }

  /** Some of a tensor's bytes are in the file; the journal notes the tensor when all are. */
  #written(arrival: Arrival, bytes: number): void {
    arrival.written += bytes
    const { tensor, position, crc, written } = arrival
    if (written < tensor.size || arrival.received < tensor.size) return
    // The journal's own failure shows when it is closed, or in the next write.
    this.#output?.note({ name: tensor.name, position, size: tensor.size, crc }).catch(() => undefined)
  }

  /** Lays the file out as the model announces it, and takes the output, which nothing has touched until now. */
  async #reserve(model: Model): Promise<void> {
    this.#checkFormat(model)
    const layout = this.#layout(model)
    const { origin } = model
    const options = { overwrite: this.#overwrite, origin, signal: this.#ended.signal }
    const output = (this.#output ??= await OutputFile.create(this.#place, options))
    this.#window = new WriteWindow(output, this.#highWaterMark)
    for (const placed of layout.tensors) this.#places.set(placed.tensor.name, placed)
    this.#announced = model
    this.#tail = layout.files[0].fileSize
    for (const { name, position, crc } of output.resumed.values()) {
      const tensor = this.#places.get(name)?.tensor
      if (!tensor) continue
      this.#arrived.add(tensor, model.tensors)
      this.#arrivals.set(name, { tensor, position, received: tensor.size, crc, written: tensor.size })
    }
  }

  /** The first record of a tensor: it goes to its announced place, or behind everything that was announced. */
  #begin(record: TensorRecord): Arrival {
    this.#format.checkTensor(record)
    const { name, dtype, shape, size } = record
    const announced = this.#places.get(name)
    let position = this.#tail
    if (announced?.tensor.size === size) ({ position } = announced)
    else this.#tail += size
    // Asked for once: of tens of thousands of tensors what is done with is let go.
    this.#places.delete(name)
    const isAnnounced = announced !== undefined && isSameTensor(announced.tensor, record)
    const tensor = isAnnounced ? announced.tensor : { name, dtype, shape, size }
    const arrival = { tensor, position, received: 0, crc: 0, written: 0 }
    this.#arrivals.set(name, arrival)
    return arrival
  }

  async #finish(): Promise<void> {
    if (this.#model === undefined) {
      throw new AprError('APR_BAD_RECORD', 'expected at least one tensor, found a stream without any', {
        file: this.#path,
      })
    }
    const { output, window } = this.#opened()
    for (const { tensor, received } of this.#arrivals.values()) {
      if (received !== tensor.size) {
        throw new AprError(
          'APR_BAD_RECORD',
          `expected ${tensor.size} bytes, found ${received} before the end of the stream`,
          { tensor: tensor.name },
        )
      }
    }
    await window.flush()
    const model = await this.#settle(this.#model)
    await turn()
    const [layout] = this.#layout(model).files
    const head = layout.head()
    await turn()
    const tail = layout.tail(head, (name) => this.#arrivals.get(name)?.crc ?? 0)
    await output.commit(head, layout.sealBytes, tail, layout.fileSize, () => {
      // The stream was ended while its last bytes were on their way.
      if (this.destroying) throw getStreamError(this) ?? new Error('the stream was ended')
    })
  }

  /** The model of what arrived. Where that is not what was announced, its data is moved to its places. */
  async #settle(model: Model): Promise<Model> {
    this.#checkFormat(model)
    const settled = settledModel(model, this.#arrived)
    if (settled === this.#announced) return settled
    const moves = this.#layout(settled).tensors.map(({ tensor: { name, size }, position }) => {
      return { from: this.#arrivals.get(name)?.position ?? 0, to: position, size }
    })
    if (moves.some(({ from, to }) => from !== to)) await this.#opened().output.rearrange(moves)
    return settled
  }

  #layout(model: Model): Layout {
    return this.#format.layout(model, { name: basename(this.#place), isFolder: false })
  }

  /** @throws AprError `APR_BAD_RECORD` for a model of another format: what of it this one holds is no guess of ours */
  #checkFormat({ format }: ModelOf<string>): void {
    const { name } = this.#format
    if (format === name) return
    throw new AprError('APR_BAD_RECORD', `expected a model of the format ${name}, found one of ${printable(format)}`)
  }

  #opened(): { output: OutputFile; window: WriteWindow } {
    if (!this.#output || !this.#window) throw new Error('the writer is not open')
    return { output: this.#output, window: this.#window }
  }
}

function checkRecord({ name, dtype, shape, size, offset, data }: TensorRecord, { tensor, received }: Arrival): void {
  const isSame = dtype === tensor.dtype && size === tensor.size && shape.join() === tensor.shape.join()
  if (!isSame) {
    throw new AprError(
      'APR_BAD_RECORD',
      `expected ${tensor.dtype} [${tensor.shape.join(', ')}] as in the tensor's first record, found ${dtype} [${shape.join(', ')}]`,
      { tensor: name },
    )
  }
  if (offset !== received) {
    throw new AprError(
      'APR_BAD_RECORD',
      `expected the tensor's bytes from ${received} on, found those from ${offset} on`,
      { tensor: name },
    )
  }
  if (offset + data.length > size) {
    throw new AprError('APR_BAD_RECORD', `expected at most ${size} bytes, found ${offset + data.length}`, {
      tensor: name,
    })
  }
}
