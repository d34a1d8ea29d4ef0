import { Readable } from 'streamx'
import { checkSource, closeUnused } from '../files/open-source.js'
import { isFilePath, type FilePath } from '../files/path.js'
import { RemoteAddress } from '../remote/address.js'
import { checkZero, type Format, type OpenedModel } from '../formats/format.js'
import { FORMATS } from '../formats/formats.js'
import type { ByteSource } from '../model/byte-source.js'
import type { TensorRecord } from '../model/record.js'
import { checkOptions, takeOptions, type Checked } from '../options/check.js'
import { READER_OPTIONS } from '../options/table.js'
import { BufferPool, disown, lend } from '../records/buffers.js'
import { checkScales } from '../records/check-scales.js'
import { turn } from './event-loop.js'
import { readableFace, type TensorReadable } from './face.js'
import { openInput } from './open-input.js'
import { planReads, type PlannedRead } from './plan-reads.js'
import { bridge, recordBytes as queuedBytes, type Done } from './streamx.js'

export interface ReaderOptions {
  /** Bytes of data in a record at the most; a record holds at least 256 elements. Default 2 MiB. */
  recordBytes?: number | undefined
  /** Bytes that are read ahead of need at the most; at least one record. Default 8 MiB. */
  highWaterMark?: number | undefined
}

type CheckedReaderOptions = Checked<ReaderOptions, typeof READER_OPTIONS>

/** Windows of the stages that hold the reader's buffers, its own among them: fewer, and buffers are made and freed. */
const POOL_WINDOWS = 3

/** Milliseconds after which the event loop gets a turn. */
const MAX_BUSY_MS = 4

/** A read that is under way. */
interface PendingRead {
  readonly read: PlannedRead
  readonly bytes: Uint8Array
  readonly done: Promise<void>
}

/**
 * Reads an APR file: a stream of its tensors' data, tensor after tensor in the order of the index.
 *
 * Header, metadata and index are checked before the first record, and every byte on the way: padding must be zero and
 * the CRC-32 at the file's end, where there is one, must be that of the file. A stream that ends without an error has
 * delivered exactly what the file's writer wrote.
 *
 * @param source a path, a `file:` URL, or a ByteSource, which is closed once, whatever happens: also where the options are
 *   refused
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error every code that the file's content can cause, and
 *   the file system's own errors
 */
export function aprReader(source: string | URL | ByteSource, options: ReaderOptions = {}): TensorReadable {
  return formatReader(FORMATS.apr, source, options)
}

/**
 * Reads a GGUF file, version 2 or 3, or a split model by its first part: as `aprReader`, tensor after tensor in the order
 * of the index. There is no checksum; all else is checked as there.
 */
export function ggufReader(source: string | URL | ByteSource, options: ReaderOptions = {}): TensorReadable {
  return formatReader(FORMATS.gguf, source, options)
}

/**
 * Reads safetensors: a file, a folder of shards, or its index file. As `aprReader`, tensor after tensor in the order in
 * which the shards are named, and in a shard by name. Weights in FP8 with scales come as BF16.
 */
export function safetensorsReader(source: string | URL | ByteSource, options: ReaderOptions = {}): TensorReadable {
  return formatReader(FORMATS.safetensors, source, options)
}

/** Reads a model of any of the formats, told by its content: as `aprReader`, `ggufReader` or `safetensorsReader`. */
export function modelReader(source: string | URL | ByteSource, options: ReaderOptions = {}): TensorReadable {
  return formatReader(undefined, source, options)
}

/** A reader of a format; undefined: of the one that the content tells. */
export function formatReader(
  format: Format | undefined,
  source: string | URL | ByteSource,
  options: ReaderOptions = {},
): TensorReadable {
  try {
    const checked = checkOptions(options, READER_OPTIONS)
    return readableFace(new ModelReader(format, checkSource(source), checked))
  } catch (error) {
    void closeUnused(source)
    throw error
  }
}

/** Reads on where `openInput` has ended, and closes the source. An opened model is read once. */
export function readOpened(opened: OpenedModel, options: ReaderOptions = {}): TensorReadable {
  return readableFace(new ModelReader(undefined, opened, takeOptions(options, READER_OPTIONS)))
}

/** The engine: reads ahead, makes records, has the format look at what passes. Knows no format. */
class ModelReader extends Readable {
  readonly #format: Format | undefined
  readonly #input: FilePath | RemoteAddress | ByteSource | undefined
  readonly #recordBytes: number
  readonly #highWaterMark: number
  readonly #pool: BufferPool
  readonly #pending: PendingRead[] = []
  #pendingBytes = 0
  #breathedAt = performance.now()
  #opened: OpenedModel | undefined
  #isClosed = false
  #planned: Iterator<PlannedRead> | undefined

  constructor(
    format: Format | undefined,
    input: FilePath | RemoteAddress | ByteSource | OpenedModel,
    options: CheckedReaderOptions,
  ) {
    // Its own window reads ahead. Queued here is nothing: an error comes behind the records before it, not ahead of them.
    super({ highWaterMark: 0, byteLength: queuedBytes })
    this.#format = format
    if ('model' in input) this.#opened = input
    else this.#input = input
    this.#recordBytes = options.recordBytes
    this.#highWaterMark = options.highWaterMark
    this.#pool = new BufferPool(POOL_WINDOWS * Math.max(options.highWaterMark, options.recordBytes))
  }

  override _open(done: Done): void {
    bridge(async () => {
      try {
        this.#opened ??= await openInput(this.#source(), this.#format)
      } catch (error) {
        // What could not be opened is closed.
        this.#isClosed = true
        throw error
      }
      this.#planned = planReads(this.#opened.tensors, this.#recordBytes)
    }, done)
  }

  override _read(done: Done): void {
    bridge(() => this.#deliver(), done)
  }

  override _destroy(done: Done): void {
    bridge(async () => {
      await Promise.allSettled(this.#pending.map((pending) => pending.done))
      await this.#close()
    }, done)
  }

  async #deliver(): Promise<void> {
    this.#readAhead()
    const pending = this.#pending.shift()
    if (pending === undefined) {
      await this.#finish()
      this.push(null)
      return
    }
    await pending.done
    await this.#breathe()
    this.#pendingBytes -= pending.bytes.length
    for (const record of this.#records(pending)) this.push(record)
  }

  /**
   * Lets the event loop turn. Small tensors go through all stages without a wait that does: a model of many would keep
   * the thread from everything else.
   */
  async #breathe(): Promise<void> {
    if (performance.now() - this.#breathedAt < MAX_BUSY_MS) return
    await turn()
    this.#breathedAt = performance.now()
  }

  /** Starts reads up to the high-water mark, and always one. */
  #readAhead(): void {
    const { opened, planned } = this.#ready()
    const { sources } = opened
    while (this.#pending.length === 0 || this.#pendingBytes < this.#highWaterMark) {
      const next = planned.next()
      if (next.done === true) return
      const read = next.value
      const bytes = this.#pool.take(read.size)
      const source = sources[read.file]
      const done = read.size > 0 && source ? source.read(bytes, read.position) : Promise.resolve()
      // A failure is reported when the record's turn comes.
      done.catch(() => undefined)
      this.#pending.push({ read, bytes, done })
      this.#pendingBytes += read.size
    }
  }

  #records({ read, bytes }: PendingRead): TensorRecord[] {
    const { opened } = this.#ready()
    const { model, sources } = opened
    const file = sources[read.file]?.name ?? opened.input.name
    // The one record of a read has the pool's buffer; small ones share theirs, which then is nobody's to use again.
    const pool = disown(bytes)
    const isAlone = read.pieces.length === 1
    return read.pieces.map(({ placed, offset, start, size, padding }): TensorRecord => {
      const end = start + size
      checkZero(bytes.subarray(end, end + padding), read.position + end, file)
      const data = isAlone && pool ? pool.adopt(bytes.buffer as ArrayBuffer, size) : lend(bytes.subarray(start, end))
      opened.passed(placed, data)
      checkScales(placed.tensor, data, offset, file)
      return { ...placed.tensor, offset, data, model }
    })
  }

  /** Checks what no record holds, and that the input is still the same. */
  async #finish(): Promise<void> {
    const { opened } = this.#ready()
    await opened.finish()
    await opened.input.checkUnchanged()
    // Here and not later: what fails now is an error of the stream, and no output is in its place yet.
    await this.#close()
  }

  #source(): FilePath | RemoteAddress | ByteSource {
    if (!this.#input) throw new Error('the reader has no input')
    return this.#input
  }

  async #close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const input = this.#opened?.input ?? this.#input
    if (input && !isFilePath(input) && !(input instanceof RemoteAddress)) await input.close()
  }

  #ready(): { opened: OpenedModel; planned: Iterator<PlannedRead> } {
    if (!this.#opened || !this.#planned) throw new Error('the reader is not open')
    return { opened: this.#opened, planned: this.#planned }
  }
}
