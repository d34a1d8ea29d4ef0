/**
 * An output in object storage: the object of an upload, whose parts are equal blocks of it. Records come in any order; a block
 * is sent when all of it is there. What holds bytes of the head or of the tail is sent at the end: these follow from all
 * others. Nothing is visible until the upload is completed.
 */
import { randomUUID } from 'node:crypto'
import { combineCrc32 } from '../../../checksum/combine.js'
import { crc32 } from '../../../checksum/crc32.js'
import type { Layout, PlacedTensor } from '../../../formats/format.js'
import { AprError } from '../../../model/errors.js'
import type { S3Place } from '../../../remote/s3/place.js'
import { S3Object, type Upload, type UploadedPart } from '../../../remote/s3/upload.js'
import type { JournalEntry } from '../journal.js'
import type { ModelOutput } from '../model-output.js'
import type { FileNames } from '../output-files.js'
import type { OutputOptions } from '../output-options.js'
import type { OutputPlace } from '../output-place.js'
import type { Ending } from '../part.js'
import { blocksOf, type BlockTable } from './block-table.js'
import { beginUpload, type Begun } from './begin.js'
import { NotesObject, type UploadNotes } from './notes.js'
import { Spill, type OpenBlock } from './spill.js'
import { leaveOpen, noteOpen } from './open-uploads.js'

/** Parts that are sent at once: so many connections, and so many blocks in memory. */
const SENT_AT_ONCE = 4

export class S3Output implements ModelOutput {
  readonly place: OutputPlace
  readonly restartReason: string | undefined
  get resumed(): ReadonlyMap<string, JournalEntry> {
    return this.#resumed
  }
  get isInPlace(): boolean {
    return this.#isInPlace
  }
  readonly #name: string
  readonly #upload: Upload
  readonly #token: string
  readonly #notes: NotesObject | undefined
  readonly #noted: Map<string, number>
  readonly #options: OutputOptions
  readonly #table: BlockTable
  readonly #resumed: Map<string, JournalEntry>
  readonly #spill: Spill
  readonly #open = new Map<number, OpenBlock>()
  /** By block. */
  readonly #parts: (UploadedPart | undefined)[]
  readonly #sending = new Set<Promise<void>>()
  readonly #ended = new AbortController()
  #error: unknown
  #isDone = false
  #isInPlace = false

  private constructor(place: OutputPlace, layout: Layout, options: OutputOptions, begun: Begun) {
    this.place = place
    this.#name = layout.files[0].name
    this.#options = options
    this.#upload = begun.upload
    this.#token = begun.token
    this.#notes = begun.notes
    this.#noted = new Map(begun.noted)
    this.#table = begun.table
    this.#parts = [...begun.parts]
    this.restartReason = begun.restartReason
    this.#spill = new Spill(begun.table.blockBytes)
    this.#resumed = resumedTensors(layout.tensors, begun)
  }

  /**
   * Begins an upload, or goes on with that of an earlier run of the same job.
   * @throws AprError `APR_EXISTS`, `APR_UNSUPPORTED` for several files, `APR_REMOTE`
   */
  static async create(place: OutputPlace, object: S3Place, layout: Layout, options: OutputOptions): Promise<S3Output> {
    if (layout.files.length > 1) {
      const what = `expected an output of one file in object storage, found ${layout.files.length}`
      throw new AprError('APR_UNSUPPORTED', what, { file: place.path })
    }
    const target = new S3Object(object)
    const token = options.job ?? randomUUID()
    const begun = await beginUpload(target, token, blocksOf(layout), options)
    if (!isKept(options)) await noteOpen(begun.upload)
    return new S3Output(place, layout, options, begun)
  }

  forget(name: string): void {
    this.#resumed.delete(name)
  }

  hasFiles(files: FileNames): boolean {
    return files.length === 1 && files[0]?.name === this.#name
  }

  async write(bytes: Uint8Array, _file: number, position: number): Promise<void> {
    const { blockBytes, fileSize, missing, isHeld } = this.#table
    if (position + bytes.length > fileSize) throw this.#changed()
    for (let done = 0; done < bytes.length;) {
      this.#check()
      const number = Math.floor((position + done) / blockBytes)
      const inBlock = position + done - number * blockBytes
      const part = bytes.subarray(done, done + blockBytes - inBlock)
      done += part.length
      // Of an earlier run: what is there is the same.
      if (this.#parts[number]) continue
      await this.#block(number).put(part, inBlock)
      missing[number] = (missing[number] ?? 0) - part.length
      if (missing[number] === 0 && isHeld[number] !== 1) await this.#send(number)
    }
  }

  note({ name, crc }: JournalEntry): Promise<void> {
    if (this.#notes) this.#noted.set(name, crc)
    this.#notes?.writeSoon(() => this.#currentNotes())
    return Promise.resolve()
  }

  rearrange(): Promise<void> {
    return Promise.reject(this.#changed())
  }

  async commit(ending: (file: number) => Promise<Ending>, checkWanted: () => void = () => undefined): Promise<void> {
    const { blockBytes, fileSize, isHeld } = this.#table
    const { head, tail, fileSize: endingSize } = await ending(0)
    if (endingSize !== fileSize) throw this.#changed()
    for (let number = 0; number < isHeld.length; number++) {
      if (isHeld[number] !== 1 || this.#parts[number]) continue
      this.#check()
      const block = this.#block(number)
      const start = number * blockBytes
      const end = Math.min(fileSize, start + blockBytes)
      for (const { bytes, at } of [
        { bytes: head, at: 0 },
        { bytes: tail, at: fileSize - tail.length },
      ]) {
        const [from, to] = [Math.max(start, at), Math.min(end, at + bytes.length)]
        if (from < to) await block.put(bytes.subarray(from - at, to - at), from - start)
      }
      await this.#send(number)
    }
    await this.#settled()
    this.#check()
    const parts = this.#parts.map((part, number) => {
      if (!part) throw new Error(`block ${number} of ${this.#parts.length} never became whole`)
      return part
    })
    const whole = parts.reduce((sum, part) => combineCrc32(sum, part.crc32 ?? 0, part.size), 0)
    checkWanted()
    const { overwrite } = this.#options
    await this.#upload.complete({ parts, size: fileSize, crc32: whole, overwrite, token: this.#token })
    this.#isDone = true
    this.#isInPlace = true
    leaveOpen(this.#upload)
    await this.#spill.close().catch(() => undefined)
    await this.#notes?.remove().catch(() => undefined)
  }

  async discard(): Promise<void> {
    if (this.#isDone) return
    this.#isDone = true
    this.#ended.abort()
    this.#notes?.stop()
    await this.#settled()
    await this.#spill.close()
    try {
      if (isKept(this.#options)) await this.#notes?.write(this.#currentNotes())
      else await this.#upload.abort()
    } finally {
      leaveOpen(this.#upload)
    }
  }

  #block(number: number): OpenBlock {
    const open = this.#open.get(number) ?? this.#spill.open()
    this.#open.set(number, open)
    return open
  }

  /** Begins to send a block, as soon as one of those under way has arrived. */
  async #send(number: number): Promise<void> {
    while (this.#sending.size >= SENT_AT_ONCE) await Promise.race(this.#sending)
    this.#check()
    const { blockBytes, fileSize } = this.#table
    const memory = await this.#block(number).take()
    this.#open.delete(number)
    const bytes = memory.subarray(0, Math.min(blockBytes, fileSize - number * blockBytes))
    const sending = this.#upload.put(number + 1, bytes, crc32(bytes), this.#ended.signal).then(
      (part) => {
        this.#parts[number] = part
      },
      (error: unknown) => {
        this.#error ??= error
      },
    )
    this.#sending.add(sending)
    void sending.then(() => {
      this.#sending.delete(sending)
      this.#spill.release(memory)
    })
  }

  async #settled(): Promise<void> {
    while (this.#sending.size > 0) await Promise.all(this.#sending)
  }

  #check(): void {
    if (this.#error !== undefined) throw this.#error as Error
  }

  #currentNotes(): UploadNotes {
    const { blockBytes } = this.#table
    return { job: this.#token, upload: this.#upload.name, blockBytes, tensors: this.#noted }
  }

  #changed(): AprError {
    const what =
      'expected the tensors and the metadata that were announced, as parts of an object are sent before all has come, found others: ' +
      'let filterTensors, mapTensors or mapMetadata change the model, or write a file and upload that'
    return new AprError('APR_BAD_RECORD', what, { file: this.place.path })
  }
}

/** Whether a later run goes on with what a failed one leaves. */
function isKept({ resume, job }: OutputOptions): boolean {
  return resume === true && job !== undefined
}

/** Tensors that an earlier run has written, and whose blocks have all arrived. */
function resumedTensors(tensors: readonly PlacedTensor[], { table, parts, noted }: Begun): Map<string, JournalEntry> {
  const resumed = new Map<string, JournalEntry>()
  for (const { tensor, position } of tensors) {
    const { name, size } = tensor
    const crc = noted.get(name)
    if (crc === undefined || size === 0) continue
    const [first, last] = [position, position + size - 1].map((byte) => Math.floor(byte / table.blockBytes))
    let isThere = true
    for (let number = first ?? 0; number <= (last ?? 0); number++) isThere &&= parts[number] !== undefined
    if (isThere) resumed.set(name, { name, position, size, crc })
  }
  return resumed
}
