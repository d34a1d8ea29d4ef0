/**
 * The older binary form of an importance matrix, little-endian: i32 entries; of each i32 length and name, i32 calls, i32
 * values and the values, f32; then, or not, i32 chunks, i32 length and name of the dataset.
 */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import { checkLimit, chunksOf, MAX_ENTRIES, type Entry, type ImportanceIndex } from './index-of.js'

/** ggml's names have 63 bytes at the most; a dataset is a path. */
const MAX_NAME_BYTES = 4096

/** @throws AprError for every rule that the file breaks */
export async function indexDat(source: ByteSource): Promise<ImportanceIndex> {
  const reader = new Reader(source)
  const count = await reader.i32('an importance matrix')
  if (count < 1 || count > MAX_ENTRIES) {
    const what = `expected an importance matrix, which starts with "GGUF" or its number of entries, 1 to ${MAX_ENTRIES}, found ${count}`
    throw new AprError('APR_BAD_MAGIC', what)
  }
  const entries = new Map<string, Entry>()
  for (let i = 0; i < count; i++) {
    const name = await reader.text('name')
    const calls = await reader.count('calls of an entry', 0)
    const size = await reader.count('values of an entry', 1)
    const position = reader.position
    reader.skip(size * 4, `${size} values`)
    // Sums that were never divided are taken as they are. Of two entries of one name the last counts.
    entries.set(name, { position, size, counts: Float32Array.of(calls === 0 ? 1 : calls) })
  }
  if (reader.rest === 0) return { entries, dataset: undefined, chunks: undefined }
  const chunks = chunksOf(await reader.i32('a number of chunks'))
  const dataset = reader.rest === 0 ? '' : await reader.text('dataset')
  return { entries, dataset: dataset === '' ? undefined : dataset, chunks }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads from front to back, and never more than the file has. */
class Reader {
  readonly #source: ByteSource
  position = 0

  constructor(source: ByteSource) {
    this.#source = source
  }

  get rest(): number {
    return this.#source.size - this.position
  }

  skip(bytes: number, what: string): void {
    if (bytes > this.rest) {
      const message = `expected ${what}, ${bytes} bytes, found the end of the file ${this.rest} bytes on`
      throw new AprError('APR_TRUNCATED', message, { offset: this.position })
    }
    this.position += bytes
  }

  async bytes(size: number, what: string): Promise<Uint8Array> {
    const start = this.position
    this.skip(size, what)
    const bytes = new Uint8Array(size)
    await this.#source.read(bytes, start)
    return bytes
  }

  async i32(what: string): Promise<number> {
    const { buffer } = await this.bytes(4, what)
    return new DataView(buffer).getInt32(0, true)
  }

  async count(what: string, least: number): Promise<number> {
    const offset = this.position
    const count = await this.i32(what)
    if (count >= least) return count
    throw new AprError('APR_BAD_HEADER', `expected ${least} or more ${what}, found ${count}`, { offset })
  }

  /** A text ends where a NUL stands in it. */
  async text(what: string): Promise<string> {
    const length = await this.count(`bytes of a ${what}`, 0)
    checkLimit(length, MAX_NAME_BYTES, `bytes of a ${what}`)
    const offset = this.position
    const bytes = await this.bytes(length, `a ${what}`)
    const end = bytes.indexOf(0)
    try {
      return UTF8.decode(end < 0 ? bytes : bytes.subarray(0, end))
    } catch {
      throw new AprError('APR_BAD_INDEX', `expected a ${what} in UTF-8, found other bytes`, { offset })
    }
  }
}
