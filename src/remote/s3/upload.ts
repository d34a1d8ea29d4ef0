/**
 * Objects that are written in parts, in any order, by any number of processes, and that appear whole or not at all: nothing
 * is visible until an upload is completed. Checksums are ours, of the bytes that were made: each part is checked by the store as it
 * arrives, and the whole before it appears, where a store knows how.
 */
import type { CompletedPart } from '@aws-sdk/client-s3'
import { AprError } from '../../model/errors.js'
import { remoteError } from '../address.js'
import type { Patience } from '../http/ranges.js'
import { presignAbort, s3Kit, type S3Kit } from './client.js'
import { s3Name, type S3Place } from './place.js'
import { failureOf, isFailure, request } from './requests.js'

/**
 * What a store checks: the CRC-32 of the whole object too, that of each part only, or nothing. Where it is not `whole` the
 * CRC-32 of all parts together is compared here.
 */
export type Checks = 'whole' | 'parts' | 'none'

/** A part that is there. */
export interface UploadedPart {
  /** From 1 on. */
  readonly part: number
  readonly size: number
  /** As the store has computed it; undefined where it does not. */
  readonly crc32: number | undefined
  readonly etag: string
}

/** What is known of an object without reading it. */
export interface ObjectHead {
  readonly size: number
  /** Of the whole object; undefined where the store has none. */
  readonly crc32: number | undefined
  /** Whose it is, as its upload was begun with. */
  readonly token: string | undefined
}

/** What an upload is completed with. */
export interface Whole {
  /** All, in their order. */
  readonly parts: readonly UploadedPart[]
  readonly size: number
  readonly crc32: number
  readonly overwrite: boolean
  readonly token: string
}

/** The name of the token among an object's metadata. */
const TOKEN = 'apr-plan'
/** An abort may miss parts that are on their way. */
const MAX_ABORTS = 10
const ABORT_WAIT_MS = 500

/** How stores say that they do not know what they are asked for. */
const UNKNOWN = ['NotImplemented', 'InvalidRequest', 'InvalidArgument', 'MalformedXML', 'UnsupportedOperation']
const NOT_THERE = ['NotFound', 'NoSuchKey']

export class S3Object {
  readonly place: S3Place
  readonly url: string
  readonly patience: Patience

  constructor(place: S3Place, patience: Patience = {}) {
    this.place = place
    this.url = s3Name(place)
    this.patience = patience
  }

  /** What is there; undefined where nothing is. */
  async head(signal?: AbortSignal): Promise<ObjectHead | undefined> {
    const isNone = (error: unknown): boolean => isFailure(error, ...NOT_THERE)
    try {
      const found = await this.send('to say whether it is there', signal, isNone, ({ sdk, uploader }, options) =>
        uploader.send(new sdk.HeadObjectCommand({ ...this.#names, ChecksumMode: 'ENABLED' }), options),
      )
      const isWhole = found.ChecksumType !== 'COMPOSITE'
      return {
        size: found.ContentLength ?? 0,
        crc32: isWhole ? fromBase64(found.ChecksumCRC32) : undefined,
        token: found.Metadata?.[TOKEN],
      }
    } catch (error) {
      if (isNone(error)) return undefined
      throw error
    }
  }

  /** @param token tells later whose the object is */
  async begin(token: string, signal?: AbortSignal): Promise<Upload> {
    const ways: readonly (readonly [Checks, object])[] = [
      ['whole', { ChecksumAlgorithm: 'CRC32', ChecksumType: 'FULL_OBJECT' }],
      ['parts', { ChecksumAlgorithm: 'CRC32' }],
      ['none', {}],
    ]
    for (const [checks, way] of ways) {
      const isUnknown = (error: unknown): boolean => checks !== 'none' && isFailure(error, ...UNKNOWN)
      try {
        const { UploadId, ChecksumType, ChecksumAlgorithm } = await this.send(
          ...(['to begin an upload', signal, isUnknown] as const),
          ({ sdk, uploader }, options) =>
            uploader.send(
              new sdk.CreateMultipartUploadCommand({ ...this.#names, ...way, Metadata: { [TOKEN]: token } }),
              options,
            ),
        )
        if (UploadId === undefined) throw remoteError('expected the name of an upload, found none', this.url)
        // A store that does not know what it was asked for may say so by saying nothing.
        const found = ChecksumType === 'FULL_OBJECT' ? 'whole' : ChecksumAlgorithm === undefined ? 'none' : 'parts'
        return new Upload(this, UploadId, found)
      } catch (error) {
        if (!isUnknown(error)) throw error
      }
    }
    throw new Error('the last way is not left')
  }

  /** An upload that was begun before, maybe by another process, by what it was called. */
  upload(name: string): Upload {
    const [, checks, id] = /^(whole|parts|none):(.+)$/s.exec(name) ?? []
    if (checks === undefined || id === undefined) throw remoteError('expected the name of an upload', this.url)
    return new Upload(this, id, checks as Checks)
  }

  /** The content of a small object; undefined where there is none. */
  async readText(signal?: AbortSignal): Promise<string | undefined> {
    const isNone = (error: unknown): boolean => isFailure(error, ...NOT_THERE)
    try {
      return await this.send('to be read', signal, isNone, async ({ sdk, uploader }, options) => {
        const { Body } = await uploader.send(new sdk.GetObjectCommand(this.#names), options)
        return await Body?.transformToString()
      })
    } catch (error) {
      if (isNone(error)) return undefined
      throw error
    }
  }

  async writeText(text: string): Promise<void> {
    await this.send('to be written', undefined, undefined, ({ sdk, uploader }) =>
      uploader.send(new sdk.PutObjectCommand({ ...this.#names, Body: text, ContentType: 'application/json' })),
    )
  }

  async remove(): Promise<void> {
    await this.send('to be removed', undefined, undefined, ({ sdk, uploader }) =>
      uploader.send(new sdk.DeleteObjectCommand(this.#names)),
    )
  }

  /** What is wrong where something is there that may not be replaced. */
  exists(): AprError {
    const what = 'expected no object at the output, found one; `overwrite` replaces it'
    return new AprError('APR_EXISTS', what, { file: this.url })
  }

  async send<T>(
    what: string,
    signal: AbortSignal | undefined,
    isWanted: ((error: unknown) => boolean) | undefined,
    work: (kit: S3Kit, options: { abortSignal?: AbortSignal }) => Promise<T>,
    onFailed?: () => Promise<void>,
  ): Promise<T> {
    const kit = await s3Kit()
    const send = (): Promise<T> => work(kit, signal ? { abortSignal: signal } : {})
    return await request({ what, url: this.url, patience: this.patience, signal, send, onFailed }, isWanted)
  }

  get #names(): { Bucket: string; Key: string } {
    return { Bucket: this.place.bucket, Key: this.place.key }
  }
}

export class Upload {
  readonly object: S3Object
  readonly id: string
  readonly checks: Checks

  constructor(object: S3Object, id: string, checks: Checks) {
    this.object = object
    this.id = id
    this.checks = checks
  }

  /** Says for another process all that it needs to go on. */
  get name(): string {
    return `${this.checks}:${this.id}`
  }

  /**
   * Puts a part, in the place of one of the same number. Its bytes must stay as they are until then.
   * @param crc32 of the bytes, as they were made
   * @throws AprError `APR_REMOTE`, `APR_PARTS_MISSING` where the upload is gone
   */
  async put(part: number, bytes: Uint8Array, crc32: number, signal?: AbortSignal): Promise<UploadedPart> {
    const isGone = (error: unknown): boolean => isFailure(error, 'NoSuchUpload')
    const checksum = this.checks === 'none' ? {} : { ChecksumCRC32: toBase64(crc32) }
    try {
      const { ETag = '' } = await this.object.send(
        ...([`to take part ${part}`, signal, isGone] as const),
        ({ sdk, uploader }, options) =>
          uploader.send(
            new sdk.UploadPartCommand({
              ...{ ...this.#names, PartNumber: part, Body: bytes, ContentLength: bytes.length },
              ...checksum,
            }),
            options,
          ),
        // A store may say that an upload is gone before it has read a body, and what is seen is a cut connection.
        async () => {
          await this.#list(part - 1, 1, signal)
        },
      )
      return { part, size: bytes.length, crc32, etag: ETag }
    } catch (error) {
      throw isGone(error) ? this.#gone() : error
    }
  }

  /**
   * The parts that are there, in their order.
   * @throws AprError `APR_PARTS_MISSING` where the upload is gone
   */
  async list(first = 1, end = Infinity): Promise<UploadedPart[]> {
    const parts: UploadedPart[] = []
    let before = first - 1
    for (;;) {
      const page = await this.#list(before)
      parts.push(...page.parts.filter(({ part }) => part < end))
      const last = page.parts.at(-1)?.part
      if (!page.isCut || last === undefined || last >= end - 1) return parts
      before = last
    }
  }

  /**
   * Makes the object of the parts, in one step. Asked again it answers as the first time.
   * @throws AprError `APR_EXISTS` where something is there that may not be replaced; then the upload is still there
   */
  async complete(whole: Whole): Promise<ObjectHead> {
    const { object } = this
    let isConditional = !whole.overwrite
    for (;;) {
      try {
        await this.#complete(whole, isConditional)
        break
      } catch (error) {
        // Where its answer was lost, or somebody else has done the same, the object says so.
        const { name, status } = failureOf(error)
        const found = await object.head()
        if (found?.token === whole.token && found.size === whole.size) break
        if (name === 'PreconditionFailed' || status === 412) throw object.exists()
        if (name === 'ConditionalRequestConflict' || status === 409) {
          if (found && !whole.overwrite) throw object.exists()
          throw remoteError('expected nobody else to change the object meanwhile, found that somebody did', object.url)
        }
        if (name === 'NoSuchUpload') throw this.#gone()
        // A store without conditions: what came a moment ago is replaced.
        if (!isConditional || !isFailure(error, 'NotImplemented')) throw error
        if (found) throw object.exists()
        isConditional = false
      }
    }
    const head = await object.head()
    if (head?.size !== whole.size || (head.crc32 ?? whole.crc32) !== whole.crc32) {
      const wanted = `${whole.size} bytes with the CRC-32 ${hex(whole.crc32)}`
      const found = head ? `${head.size} bytes with ${hex(head.crc32 ?? whole.crc32)}` : 'none'
      throw remoteError(`expected an object of ${wanted}, found ${found}`, object.url)
    }
    return head
  }

  /** Gives the upload up, until nothing of it is left. */
  async abort(): Promise<void> {
    const isGone = (error: unknown): boolean => isFailure(error, 'NoSuchUpload')
    for (let tries = 0; tries < MAX_ABORTS; tries++) {
      try {
        await this.object.send('to abort an upload', undefined, isGone, ({ sdk, uploader }) =>
          uploader.send(new sdk.AbortMultipartUploadCommand(this.#names)),
        )
        const left = await this.#list(0, 1)
        if (left.parts.length > 0) await new Promise((done) => setTimeout(done, ABORT_WAIT_MS))
      } catch (error) {
        if (isGone(error) || (error instanceof AprError && error.code === 'APR_PARTS_MISSING')) return
        throw error
      }
    }
    throw remoteError(`expected no parts of the upload ${this.id} after an abort, found some`, this.object.url)
  }

  /** A URL that aborts it, for a while and by whoever has it. */
  async abortUrl(): Promise<string> {
    return await presignAbort(await s3Kit(), this.#names)
  }

  async #list(before: number, most?: number, signal?: AbortSignal): Promise<{ parts: UploadedPart[]; isCut: boolean }> {
    const isGone = (error: unknown): boolean => isFailure(error, 'NoSuchUpload')
    try {
      const { Parts = [], IsTruncated = false } = await this.object.send(
        ...(['to list parts', signal, isGone] as const),
        ({ sdk, uploader }, options) =>
          uploader.send(
            new sdk.ListPartsCommand({
              ...{ ...this.#names, PartNumberMarker: String(before) },
              ...(most !== undefined && { MaxParts: most }),
            }),
            options,
          ),
      )
      const parts = Parts.map(({ PartNumber = 0, Size = 0, ETag = '', ChecksumCRC32 }) => ({
        ...{ part: PartNumber, size: Size, etag: ETag },
        crc32: fromBase64(ChecksumCRC32),
      }))
      return { parts, isCut: IsTruncated }
    } catch (error) {
      throw isGone(error) ? this.#gone() : error
    }
  }

  async #complete({ parts, size, crc32, token }: Whole, isConditional: boolean): Promise<void> {
    const isWhole = this.checks === 'whole'
    const list = parts.map(({ part, etag, crc32: own }): CompletedPart => ({
      ...{ PartNumber: part, ETag: etag },
      ...(this.checks !== 'none' && own !== undefined && { ChecksumCRC32: toBase64(own) }),
    }))
    const isAnswer = (error: unknown): boolean => {
      const { name, status } = failureOf(error)
      return [409, 412].includes(status ?? 0) || ['NoSuchUpload', 'NotImplemented'].includes(name)
    }
    // The answer may have been lost on its way: then the object is there.
    const isThere = async (): Promise<void> => {
      const found = await this.object.head()
      if (found?.token === token && found.size === size) throw new CompletedBefore()
    }
    try {
      await this.object.send(
        'to complete an upload',
        undefined,
        (error) => error instanceof CompletedBefore || isAnswer(error),
        ({ sdk, slow }) =>
          slow.send(
            new sdk.CompleteMultipartUploadCommand({
              ...this.#names,
              MultipartUpload: { Parts: list },
              ...(isWhole && { ChecksumCRC32: toBase64(crc32), ChecksumType: 'FULL_OBJECT', MpuObjectSize: size }),
              ...(isConditional && { IfNoneMatch: '*' }),
            }),
          ),
        isThere,
      )
    } catch (error) {
      if (!(error instanceof CompletedBefore)) throw error
    }
  }

  get #names(): { Bucket: string; Key: string; UploadId: string } {
    const { bucket, key } = this.object.place
    return { Bucket: bucket, Key: key, UploadId: this.id }
  }

  #gone(): AprError {
    const what =
      'expected the upload that the output is made by, found none: it was aborted or completed by somebody else'
    return new AprError('APR_PARTS_MISSING', what, { file: this.object.url })
  }
}

class CompletedBefore extends Error {}

/** A CRC-32 as S3 writes it. */
function toBase64(crc32: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32)
  return bytes.toString('base64')
}

/** Of a checksum of checksums, which ends in their number, there is none. */
function fromBase64(text: string | undefined): number | undefined {
  if (text === undefined || text.includes('-')) return undefined
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === 4 ? bytes.readUInt32BE() : undefined
}

function hex(crc32: number): string {
  return crc32.toString(16).padStart(8, '0')
}
