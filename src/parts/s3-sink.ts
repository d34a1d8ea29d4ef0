/**
 * An object that several processes make: block n is part n + 1 of an upload. Nothing of it is visible until it is completed. The
 * plan's name is in the object's metadata, so whoever asks finds out whose it is.
 */
import { combineCrc32 } from '../checksum/combine.js'
import { AprError } from '../model/errors.js'
import { s3Place } from '../remote/s3/place.js'
import { S3Object, type Upload, type UploadedPart } from '../remote/s3/upload.js'
import type { Patience } from '../remote/http/ranges.js'
import type { BlockReceipt, BlockSink, Finished, PartsPlan } from './blocks.js'
import { blockCount, blockRange } from './cut.js'

/** What S3 takes: of parts, the last one aside, and of their number. */
const LEAST_PART_BYTES = 5 * 1024 ** 2
const MOST_PART_BYTES = 5 * 1024 ** 3
const MOST_PARTS = 10_000

export class S3Sink implements BlockSink {
  readonly #plan: PartsPlan
  readonly #object: S3Object

  constructor(plan: PartsPlan, patience: Patience = {}) {
    this.#plan = plan
    this.#object = new S3Object(s3Place(plan.output), patience)
  }

  async begin(plan: PartsPlan): Promise<PartsPlan> {
    const found = await this.#object.head()
    if (found && !plan.overwrite) throw this.#object.exists()
    if (plan.upload !== undefined) return plan
    this.#checkSizes()
    const upload = await this.#object.begin(plan.id)
    if (upload.checks !== 'none') return { ...plan, upload: upload.name }
    await upload.abort()
    const what = 'expected a store that tells the CRC-32 of the parts that it has, found one that does not'
    throw new AprError('APR_UNSUPPORTED', what, { file: plan.output })
  }

  async have(first: number, end: number): Promise<BlockReceipt[]> {
    const parts = await this.#upload().list(first + 1, end + 1)
    return parts.flatMap(({ part, size, crc32, etag }) => {
      const block = part - 1
      const isWhole = crc32 !== undefined && size === blockRange(this.#plan, block).size
      return isWhole ? [{ block, crc32, etag }] : []
    })
  }

  async put(
    receipt: BlockReceipt,
    bytes: Uint8Array,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<BlockReceipt> {
    const { block, crc32 } = receipt
    const { size } = blockRange(this.#plan, block)
    if (bytes.length !== size) throw new Error(`block ${block} has ${size} bytes, not ${bytes.length}`)
    const { etag } = await this.#upload().put(block + 1, bytes, crc32, signal)
    return { ...receipt, etag }
  }

  async finished(): Promise<Finished | undefined> {
    const { id, output, totalBytes } = this.#plan
    const found = await this.#object.head()
    if (found?.token !== id || found.size !== totalBytes) return undefined
    return { output, bytes: totalBytes, crc32: found.crc32, already: true }
  }

  async complete(receipts: readonly BlockReceipt[], crc32: number): Promise<Finished> {
    const { id, output, overwrite, totalBytes } = this.#plan
    const upload = this.#upload()
    const parts = await this.#partsOf(receipts, upload)
    const found = parts.reduce((sum, part) => combineCrc32(sum, part.crc32 ?? 0, part.size), 0)
    if (found !== crc32) throw new Error(`the CRC-32 of the blocks together is ${found}, not ${crc32}`)
    await upload.complete({ parts, size: totalBytes, crc32, overwrite, token: id })
    const checks = upload.checks === 'whole' ? 'whole' : 'parts'
    return { output, bytes: totalBytes, crc32, already: false, checks }
  }

  async abort(): Promise<void> {
    if (this.#plan.upload !== undefined) await this.#upload().abort()
  }

  async close(): Promise<void> {
    // The connections are the process's.
  }

  /** @throws AprError `APR_BAD_OPTION` for what a store would refuse, some of it only at the end */
  #checkSizes(): void {
    const { blockBytes, output } = this.#plan
    const blocks = blockCount(this.#plan)
    if (blocks === 1 || (blockBytes >= LEAST_PART_BYTES && blockBytes <= MOST_PART_BYTES && blocks <= MOST_PARTS))
      return
    const expected = `at most ${MOST_PARTS} blocks of ${LEAST_PART_BYTES} to ${MOST_PART_BYTES} bytes in object storage`
    const what = `expected \`blockBytes\` to give ${expected}, found ${blocks} of ${blockBytes}`
    throw new AprError('APR_BAD_OPTION', what, { file: output })
  }

  /** Receipts that went another way than by the store may lack what it has given. */
  async #partsOf(receipts: readonly BlockReceipt[], upload: Upload): Promise<UploadedPart[]> {
    const isAll = receipts.every(({ etag }) => etag !== undefined)
    const etags = new Map(isAll ? [] : (await upload.list()).map(({ part, etag }) => [part, etag]))
    return receipts.map(({ block, crc32, etag }) => {
      const part = block + 1
      return { part, size: blockRange(this.#plan, block).size, crc32, etag: etag ?? etags.get(part) ?? '' }
    })
  }

  #upload(): Upload {
    const { upload, id, output } = this.#plan
    if (upload !== undefined) return this.#object.upload(upload)
    const what = `expected the upload of the plan ${id}, found none: the plan was never begun`
    throw new AprError('APR_PARTS_MISSING', what, { file: output })
  }
}
