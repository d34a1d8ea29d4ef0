/**
 * A file that several processes make, on one machine or on a file system that several share. It is `<output>.<plan>.partial`
 * until it is whole: the plan's name in it keeps another plan's processes off. Who has put a block leaves its receipt in the
 * folder beside it, so nobody reads back what another one wrote.
 */
import { randomBytes } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import fs from 'fs-extra'
import { checkPlace, findPlace, statOrUndefined, syncFolder } from '../files/output/output-place.js'
import { permitAs, permitNew, PRIVATE_MODE } from '../files/output/permissions.js'
import { putInPlace } from '../files/output/placing.js'
import { PositionedFile } from '../files/positioned-file.js'
import { AprError, checkNotAborted } from '../model/errors.js'
import { isFields } from '../model/found.js'
import type { BlockReceipt, BlockSink, Finished, PartsPlan } from './blocks.js'
import { blockRange } from './cut.js'

/**
 * The first bytes of a file, which hold every format's mark. They are kept in the first block's receipt until all else is on
 * the disk: before, nobody can take the file for a model.
 */
const SEAL_BYTES = 64

/** Receipts tell of the content as well. */
const PRIVATE_FOLDER_MODE = 0o700

/** Receipts that are read at once. */
const READS_UNDER_WAY = 32

/** Where what belongs to a plan stands. */
interface Places {
  /** Of the output, links resolved. */
  readonly output: string
  readonly partial: string
  /** A folder: a file for each block that is there. */
  readonly receipts: string
  /** Says that the output is this plan's, when it is in its place. */
  readonly done: string
}

/** A receipt as it stands on the disk. */
interface StoredReceipt extends BlockReceipt {
  /** Of the partial file that the block is in: another one of the same name has not got it. */
  readonly inode: string
  /** Another plan of the same bytes may cut them otherwise: its blocks of the same numbers are others. */
  readonly blockBytes: number
  /** Of the first block: the file's first bytes, in base64. */
  readonly seal?: string
}

/** What is noted of an output before it takes its place. */
interface DoneNote extends Omit<Finished, 'already' | 'output'> {
  readonly plan: string
  readonly inode: string
}

export class FileSink implements BlockSink {
  readonly #plan: PartsPlan
  #places: Promise<Places> | undefined
  #opening: Promise<{ file: PositionedFile; inode: string }> | undefined

  constructor(plan: PartsPlan) {
    this.#plan = plan
  }

  /** Bytes that are taken on the disk already. */
  async takenBytes(): Promise<number> {
    const { partial } = await this.#found()
    return Number((await statOrUndefined(partial))?.blocks ?? 0) * 512
  }

  async begin(plan: PartsPlan): Promise<PartsPlan> {
    const { output, partial, receipts, done } = await this.#found()
    await checkPlace(output, plan.overwrite)
    const isNew = (await statOrUndefined(partial)) === undefined
    if (isNew) {
      await removeFolder(receipts)
      await fs.remove(done)
    }
    const file = isNew ? await createOrOpen(partial) : await PositionedFile.open(partial, 'r+')
    try {
      // Only of one that is new, or whose maker was killed: its bytes would be zeros for a moment.
      if (Number((await file.stat()).size) !== plan.totalBytes) await file.resize(plan.totalBytes)
      await fs.ensureDir(receipts, PRIVATE_FOLDER_MODE)
    } finally {
      await file.close()
    }
    await syncFolder(dirname(partial))
    return plan
  }

  async have(first: number, end: number): Promise<BlockReceipt[]> {
    return (await this.#stored(first, end)).map(({ block, crc32, sources }) => ({
      block,
      crc32,
      ...(sources && { sources }),
    }))
  }

  async put(
    receipt: BlockReceipt,
    bytes: Uint8Array,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<BlockReceipt> {
    const { block } = receipt
    const { start, size } = blockRange(this.#plan, block)
    if (bytes.length !== size) throw new Error(`block ${block} has ${size} bytes, not ${bytes.length}`)
    const { file, inode } = await this.#open()
    checkNotAborted(signal)
    // One who sleeps while all is finished, and goes on, must not take the mark from what is in its place by then.
    const sealed = block === 0 ? bytes.subarray(0, SEAL_BYTES) : undefined
    await file.write(bytes.subarray(sealed?.length ?? 0), start + (sealed?.length ?? 0))
    await file.sync()
    const seal = sealed && Buffer.from(sealed).toString('base64')
    const { blockBytes } = this.#plan
    const stored: StoredReceipt = { ...receipt, inode, blockBytes, ...(seal !== undefined && { seal }) }
    const { receipts } = await this.#found()
    await this.#publish(join(receipts, `${block}.json`), stored)
    return receipt
  }

  async finished(): Promise<Finished | undefined> {
    const places = await this.#found()
    const note = await readJson(places.done)
    if (!isDoneNote(note) || note.plan !== this.#plan.id) return undefined
    const found = await statOrUndefined(places.output)
    if (!found || String(found.ino) !== note.inode || Number(found.size) !== note.bytes) return undefined
    // Of one that was killed when all was done.
    await this.#clean(places).catch(() => undefined)
    return { output: this.#plan.output, bytes: note.bytes, crc32: note.crc32, already: true }
  }

  async complete(_receipts: readonly BlockReceipt[], crc32: number, inputMode?: number): Promise<Finished> {
    try {
      return await this.#complete(crc32, inputMode)
    } catch (error) {
      // Two that finish at once: the other one was faster.
      const done = await this.finished().catch(() => undefined)
      if (done) return done
      throw error
    }
  }

  async abort(): Promise<void> {
    const places = await this.#found()
    await this.close()
    await this.#clean(places)
    await fs.remove(places.done)
  }

  async close(): Promise<void> {
    const opening = this.#opening
    this.#opening = undefined
    const opened = await opening?.catch(() => undefined)
    await opened?.file.close()
  }

  async #complete(crc32: number, inputMode: number | undefined): Promise<Finished> {
    const { output, overwrite, totalBytes, id } = this.#plan
    const places = await this.#found()
    const { file, inode } = await this.#open()
    const [first] = await this.#stored(0, 1)
    const seal = Buffer.from(first?.seal ?? '', 'base64')
    const { size } = await file.stat()
    if (Number(size) !== totalBytes || seal.length !== Math.min(SEAL_BYTES, totalBytes)) throw this.#gone()
    await checkPlace(places.output, overwrite)

    const note: DoneNote = { plan: id, bytes: totalBytes, crc32, inode }
    // Before it is in its place: what says so then tells of the file whose number it holds.
    await this.#publish(places.done, note)
    const replaced = overwrite ? await statOrUndefined(places.output) : undefined
    if (replaced) await permitAs(replaced, file)
    // The note is a file as this process makes any.
    else await permitNew(file, await fs.stat(places.done, { bigint: true }), inputMode)
    await file.sync()
    await file.write(seal, 0)
    await file.sync()
    await this.close()

    // One who has slept here may find the partial file of the same plan begun anew.
    if (String((await statOrUndefined(places.partial))?.ino) !== inode) throw this.#gone()
    if (overwrite) await fs.rename(places.partial, places.output)
    else await putInPlace(places.output, places.partial)
    // All is in its place and whole: what fails from here on, a power failure aside, changes nothing about it.
    await syncFolder(dirname(places.output)).catch(() => undefined)
    await this.#clean(places).catch(() => undefined)
    await removeOtherNotes(places).catch(() => undefined)
    return { output, bytes: totalBytes, crc32, already: false }
  }

  /** Removes what is needed only until all is done. The receipts go first: without a partial file there are none. */
  async #clean({ partial, receipts }: Places): Promise<void> {
    await removeFolder(receipts)
    await fs.remove(partial)
  }

  async #stored(first: number, end: number): Promise<StoredReceipt[]> {
    const { receipts } = await this.#found()
    const { inode } = await this.#open()
    const names = await fs.readdir(receipts).catch((error: unknown) => {
      throw this.#isGone(error) ? this.#gone() : error
    })
    const blocks = names
      .map((name) => Number(/^(\d+)\.json$/.exec(name)?.[1] ?? NaN))
      .filter((block) => block >= first && block < end)
      .sort((a, b) => a - b)
    const stored: StoredReceipt[] = []
    for (let i = 0; i < blocks.length; i += READS_UNDER_WAY) {
      const some = blocks.slice(i, i + READS_UNDER_WAY)
      const found = await Promise.all(some.map((block) => readJson(join(receipts, `${block}.json`))))
      for (const [j, receipt] of found.entries()) {
        const isOurs = isStored(receipt) && receipt.inode === inode && receipt.blockBytes === this.#plan.blockBytes
        if (isOurs && receipt.block === some[j]) stored.push(receipt)
      }
    }
    return stored
  }

  /** Writes a small file that is there whole or not at all, and lasts. */
  async #publish(path: string, value: object): Promise<void> {
    const { receipts } = await this.#found()
    const beside = join(receipts, `${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.new`)
    try {
      await fs.writeFile(beside, JSON.stringify(value), { flush: true })
      await fs.rename(beside, path)
      await syncFolder(dirname(path))
    } catch (error) {
      throw this.#isGone(error) ? this.#gone() : error
    }
  }

  #found(): Promise<Places> {
    this.#places ??= findPlace(this.#plan.output).then(({ path }) => {
      const partial = `${path}.${this.#plan.id}.partial`
      return { output: path, partial, receipts: `${partial}.d`, done: `${path}.${this.#plan.id}.done` }
    })
    return this.#places
  }

  #open(): Promise<{ file: PositionedFile; inode: string }> {
    this.#opening ??= this.#found().then(async ({ partial }) => {
      const file = await PositionedFile.open(partial, 'r+').catch((error: unknown) => {
        throw this.#isGone(error) ? this.#gone() : error
      })
      return { file, inode: String((await file.stat()).ino) }
    })
    return this.#opening
  }

  #isGone(error: unknown): boolean {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }

  #gone(): AprError {
    const { id, output } = this.#plan
    const what = `expected the partial file of the plan ${id}, found none: the plan was aborted, or never begun`
    return new AprError('APR_PARTS_MISSING', what, { file: output })
  }
}

/** Also while one whose plan is gone, and who does not know it yet, puts something into it. */
async function removeFolder(path: string): Promise<void> {
  await fs.rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
}

async function createOrOpen(path: string): Promise<PositionedFile> {
  try {
    return await PositionedFile.open(path, 'wx+', PRIVATE_MODE)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return await PositionedFile.open(path, 'r+')
  }
}

/** Of other plans, whose output this one has replaced. */
async function removeOtherNotes({ output, done }: Places): Promise<void> {
  const [folder, name] = [dirname(output), basename(output)]
  for (const found of await fs.readdir(folder)) {
    const isNote = found.startsWith(`${name}.`) && /^[0-9a-f]{16}\.done$/.test(found.slice(name.length + 1))
    if (isNote && found !== basename(done)) await fs.remove(join(folder, found))
  }
}

/** What a small file says; undefined where there is none, or it was cut short when the power failed. */
async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await fs.readFile(path, 'utf8')) as unknown
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function isStored(value: unknown): value is StoredReceipt {
  return isFields(value) && isCount(value['block']) && isCount(value['crc32']) && typeof value['inode'] === 'string'
}

function isDoneNote(value: unknown): value is DoneNote {
  return isFields(value) && isCount(value['bytes']) && isCount(value['crc32']) && typeof value['inode'] === 'string'
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
