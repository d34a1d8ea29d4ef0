/**
 * What a later run needs to go on with an upload: a small object beside the output. The parts that are there the store lists;
 * these notes say which upload it is, of which job, and the CRC-32 of each tensor that was written, which no part tells.
 */
import { isFields } from '../../../model/found.js'
import { S3Object } from '../../../remote/s3/upload.js'
import { journalPath } from '../output-place.js'

export interface UploadNotes {
  readonly job: string
  readonly upload: string
  readonly blockBytes: number
  /** CRC-32 of each tensor that is written in full, by its name. */
  readonly tensors: ReadonlyMap<string, number>
}

/** Notes are an object that is written anew each time; what a killed run has not noted is made again. */
const NOTE_EVERY_MS = 5000

export class NotesObject {
  readonly #object: S3Object
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(output: S3Object) {
    const { bucket, key } = output.place
    this.#object = new S3Object({ bucket, key: journalPath(key) }, output.patience)
  }

  /** What an earlier run has noted; undefined where there is nothing of ours. */
  async read(signal?: AbortSignal): Promise<UploadNotes | undefined> {
    const text = await this.#object.readText(signal)
    if (text === undefined) return undefined
    try {
      return parse(JSON.parse(text))
    } catch {
      return undefined
    }
  }

  /** Writes notes a little later, as they are then. */
  writeSoon(notes: () => UploadNotes): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      // A later one, or the last one, tells what is wrong.
      this.write(notes()).catch(() => undefined)
    }, NOTE_EVERY_MS)
  }

  /** Writes notes, after those that are being written. */
  async write({ job, upload, blockBytes, tensors }: UploadNotes): Promise<void> {
    const text = JSON.stringify({ job, upload, blockBytes, tensors: [...tensors] })
    const written = this.#writing.catch(() => undefined).then(() => this.#object.writeText(text))
    this.#writing = written
    await written
  }

  async remove(): Promise<void> {
    this.stop()
    await this.#writing.catch(() => undefined)
    await this.#object.remove()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}

function parse(value: unknown): UploadNotes | undefined {
  if (!isFields(value)) return undefined
  const { job, upload, blockBytes, tensors } = value
  if (typeof job !== 'string' || typeof upload !== 'string' || typeof blockBytes !== 'number') return undefined
  if (!Array.isArray(tensors)) return undefined
  const isEntry = (entry: unknown): entry is [string, number] =>
    Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'
  return { job, upload, blockBytes, tensors: new Map(tensors.filter(isEntry)) }
}
