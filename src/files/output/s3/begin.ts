/** What a run in object storage starts from: a new upload, or that of an earlier run of the same job. */
import { AprError } from '../../../model/errors.js'
import type { S3Object, Upload, UploadedPart } from '../../../remote/s3/upload.js'
import type { OutputOptions } from '../output-options.js'
import type { BlockTable } from './block-table.js'
import { NotesObject, type UploadNotes } from './notes.js'

export interface Begun {
  readonly upload: Upload
  /** Tells whose the object is. */
  readonly token: string
  readonly table: BlockTable
  /** Where a later run is to find what it can go on with. */
  readonly notes: NotesObject | undefined
  readonly noted: ReadonlyMap<string, number>
  /** By block: those that are there already. */
  readonly parts: readonly (UploadedPart | undefined)[]
  readonly restartReason: string | undefined
}

/** @throws AprError `APR_EXISTS`, `APR_REMOTE` */
export async function beginUpload(
  object: S3Object,
  token: string,
  table: BlockTable,
  { overwrite, resume, job, signal }: OutputOptions,
): Promise<Begun> {
  if ((await object.head(signal)) && !overwrite) throw object.exists()
  const beside = new NotesObject(object)
  const earlier = await beside.read(signal)
  const notes = resume === true && job !== undefined ? beside : undefined
  const none = new Array<undefined>(table.missing.length).fill(undefined)
  let restartReason: string | undefined
  if (earlier && resume) {
    const found = await findParts(object, earlier, job, table)
    if (typeof found !== 'string') {
      const noted = earlier.tensors
      const upload = object.upload(earlier.upload)
      return { upload, token, table, notes, noted, parts: found, restartReason: undefined }
    }
    restartReason = found
  }
  // It would be billed for ever, and nobody else knows of it.
  if (earlier) await removeEarlier(object, earlier, beside)
  const upload = await object.begin(token, signal)
  try {
    const { blockBytes } = table
    await notes?.write({ job: token, upload: upload.name, blockBytes, tensors: new Map() })
  } catch (error) {
    await upload.abort().catch(() => undefined)
    throw error
  }
  return { upload, token, table, notes, noted: new Map(), parts: none, restartReason }
}

async function removeEarlier(object: S3Object, { upload }: UploadNotes, notes: NotesObject): Promise<void> {
  await object.upload(upload).abort()
  await notes.remove()
}

/** The blocks that are there of an earlier run; or why that cannot be gone on with. */
async function findParts(
  object: S3Object,
  earlier: UploadNotes,
  job: string | undefined,
  { blockBytes, fileSize, missing, isHeld }: BlockTable,
): Promise<readonly (UploadedPart | undefined)[] | string> {
  if (job === undefined) return 'the upload cannot be told to be of the same job'
  if (earlier.job !== job || earlier.blockBytes !== blockBytes) {
    return 'the input, the options or the version are not those of the upload'
  }
  const parts = new Array<UploadedPart | undefined>(missing.length).fill(undefined)
  try {
    for (const part of await object.upload(earlier.upload).list()) {
      const number = part.part - 1
      const size = Math.min(blockBytes, fileSize - number * blockBytes)
      // What holds the head or the tail is made at the end, also if it has been before.
      if (part.size === size && part.crc32 !== undefined && isHeld[number] === 0) parts[number] = part
    }
  } catch (error) {
    if (error instanceof AprError && error.code === 'APR_PARTS_MISSING') return 'the upload is gone'
    throw error
  }
  return parts
}
