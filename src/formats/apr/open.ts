/**
 * Reads what stands before the data, header, metadata and index, and checks it against the size of the file: everything
 * that can be wrong without looking at a tensor.
 */
import { crc32 } from '../../checksum/crc32.js'
import { AprError, located } from '../../model/errors.js'
import { align, ALIGNMENT, decodeHeader, FOOTER_BYTES, HEADER_BYTES, type AprHeader } from './header.js'
import { compareNames } from '../../model/names.js'
import { decodeMetadata, MAX_METADATA_BYTES } from './metadata.js'
import { decodeEntry, MAX_ENTRY_BYTES, MAX_TENSORS, MIN_ENTRY_BYTES, type IndexEntry } from './tensor-index.js'
import type { ByteSource } from '../../model/byte-source.js'
import type { AprModel } from './model.js'
import { fileOf, type ModelInput } from '../format.js'
import { OpenedAprModel, type Section, type TensorSection } from './opened.js'

/** Bytes of the index that are read at once. */
const INDEX_CHUNK_BYTES = 64 * 1024

/** @throws AprError for every rule of the format that header, metadata and index can break */
export async function openModel(input: ModelInput): Promise<OpenedAprModel> {
  const source = fileOf(input)
  const headerBytes = await readBytes(source, 0, Math.min(HEADER_BYTES, source.size))
  const header = decodeHeader(headerBytes)
  checkSections(header, source.size)

  const metadata = await readMetadata(source, header)
  const index = await readIndex(source, header)

  const tensors = index.entries.map((entry): TensorSection => {
    const { name, dtype, shape, size, dataOffset } = entry
    const tensor = Object.freeze({ name, dtype, shape, size })
    return { tensor, file: 0, position: header.dataOffset + dataOffset, size, gap: 0, padding: 0, crc: 0 }
  })
  checkExtent(tensors, source.size)
  const sections = [
    { position: 0, size: HEADER_BYTES, gap: 0, crc: crc32(headerBytes) },
    metadata.section,
    index.section,
    ...tensors,
  ]
    .filter(({ size }) => size > 0)
    .sort((a, b) => a.position - b.position)
  checkOverlap(sections)
  const footerOffset = await findFooter(source, sections)
  sections.forEach((section, i) => {
    section.gap = (sections[i + 1]?.position ?? footerOffset ?? source.size) - section.position - section.size
  })

  for (const section of tensors) if (section.gap < ALIGNMENT) section.padding = section.gap

  const model: AprModel = Object.freeze({
    format: 'apr',
    tensors: Object.freeze(tensors.map(({ tensor }) => tensor)),
    metadata: metadata.text,
    flags: header.flags,
    minorVersion: header.minorVersion,
    reserved: header.reserved,
    ...(source.identity && { origin: source.identity }),
  })
  return new OpenedAprModel(input, header, model, tensors, sections, footerOffset)
}

async function readBytes(source: ByteSource, position: number, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size)
  await source.read(bytes, position)
  return bytes
}

function checkSections(header: AprHeader, fileSize: number): void {
  const { metadataOffset, metadataSize, indexOffset, dataOffset, tensorCount } = header
  for (const [field, offset] of Object.entries({ metadataOffset, indexOffset, dataOffset })) {
    if (offset < HEADER_BYTES) {
      throw new AprError('APR_BAD_HEADER', `expected ${field} to be at least 64, behind the header, found ${offset}`)
    }
  }
  checkEnd('the metadata', metadataOffset + metadataSize, fileSize)
  checkEnd('the tensor index', indexOffset, fileSize)
  checkEnd('the tensor data', dataOffset, fileSize)
  if (metadataSize > MAX_METADATA_BYTES) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_METADATA_BYTES} bytes of metadata, found ${metadataSize}`)
  }
  const indexBytes = indexEnd(header, fileSize) - indexOffset
  if (tensorCount * MIN_ENTRY_BYTES > indexBytes) {
    throw new AprError(
      'APR_BAD_INDEX',
      `expected room for ${tensorCount} tensors in the index, at least ${tensorCount * MIN_ENTRY_BYTES} bytes, found ${indexBytes}`,
    )
  }
  if (tensorCount > MAX_TENSORS) {
    throw new AprError('APR_LIMIT', `expected at most ${MAX_TENSORS} tensors, found ${tensorCount}`)
  }
}

function checkEnd(what: string, end: number, fileSize: number): void {
  if (end > fileSize) {
    throw new AprError(
      'APR_TRUNCATED',
      `expected ${what} to end inside the file, at byte ${end}, found a file of ${fileSize} bytes`,
    )
  }
}

/** Where the index ends at the latest: at the next section, or the end of the file. */
function indexEnd({ indexOffset, metadataOffset, dataOffset }: AprHeader, fileSize: number): number {
  return Math.min(fileSize, ...[metadataOffset, dataOffset].filter((offset) => offset > indexOffset))
}

async function readMetadata(source: ByteSource, header: AprHeader): Promise<{ text: string; section: Section }> {
  const { metadataOffset: start, metadataSize: size } = header
  const bytes = await readBytes(source, start, size)
  return {
    text: located({ offset: start }, () => decodeMetadata(bytes)),
    section: { position: start, size, gap: 0, crc: crc32(bytes) },
  }
}

/** Reads the index piece by piece: a bad entry costs no more than the bytes up to it. */
async function readIndex(source: ByteSource, header: AprHeader): Promise<{ entries: IndexEntry[]; section: Section }> {
  const end = indexEnd(header, source.size)
  const entries: IndexEntry[] = []
  let position = header.indexOffset
  let crc = 0
  let chunk = new DataView(new ArrayBuffer(0))
  let used = 0
  while (entries.length < header.tensorCount) {
    const offset = position
    const found = located({ offset }, () => decodeEntry(chunk, used))
    if (found) {
      located({ offset }, () => checkOrder(entries.at(-1), found.entry))
      entries.push(found.entry)
      position += found.end - used
      used = found.end
      continue
    }
    crc = crc32(new Uint8Array(chunk.buffer, 0, used), crc)
    const rest = (header.tensorCount - entries.length) * MAX_ENTRY_BYTES
    const size = Math.min(INDEX_CHUNK_BYTES, end - position, rest)
    if (size <= chunk.byteLength - used) {
      throw new AprError(
        'APR_BAD_INDEX',
        `expected ${header.tensorCount} tensors in the index, found its end at byte ${end}, inside entry ${entries.length + 1}`,
      )
    }
    chunk = new DataView(new ArrayBuffer(size))
    await source.read(new Uint8Array(chunk.buffer), position)
    used = 0
  }
  crc = crc32(new Uint8Array(chunk.buffer, 0, used), crc)
  return { entries, section: { position: header.indexOffset, size: position - header.indexOffset, gap: 0, crc } }
}

function checkOrder(previous: IndexEntry | undefined, entry: IndexEntry): void {
  if (previous === undefined) return
  const order = compareNames(previous.name, entry.name)
  if (order === 0)
    throw new AprError('APR_BAD_INDEX', 'expected every tensor name once, found one twice', { tensor: entry.name })
  if (order > 0) {
    throw new AprError(
      'APR_BAD_INDEX',
      'expected an index sorted by name, found a name that belongs before its predecessor',
      {
        tensor: entry.name,
      },
    )
  }
}

/** A file cut short keeps a perfectly good header and index, so this comes before all else about the data. */
function checkExtent(tensors: readonly TensorSection[], fileSize: number): void {
  const last = tensors.reduce<TensorSection | undefined>(
    (latest, section) =>
      latest === undefined || section.position + section.size > latest.position + latest.size ? section : latest,
    undefined,
  )
  if (last && last.position + last.size > fileSize) {
    throw new AprError(
      'APR_TRUNCATED',
      `expected tensor data up to byte ${last.position + last.size}, found a file of ${fileSize} bytes`,
      { tensor: last.tensor.name },
    )
  }
}

function checkOverlap(sections: readonly Section[]): void {
  let end = 0
  for (const section of sections) {
    if (section.position < end) {
      const tensor = 'tensor' in section ? (section as TensorSection).tensor.name : undefined
      throw new AprError(
        'APR_BAD_INDEX',
        `expected sections that do not overlap, found one from byte ${section.position} inside another that ends at byte ${end}`,
        { tensor },
      )
    }
    end = section.position + section.size
  }
}

/**
 * The checksum is the last 4 bytes of a file, behind the padding of the last section. Some writers leave it out: then
 * the file ends with that section or its padding.
 */
async function findFooter(source: ByteSource, sections: readonly Section[]): Promise<number | undefined> {
  const last = sections.at(-1)
  const end = last ? last.position + last.size : HEADER_BYTES
  const rest = source.size - end
  const padding = align(end) - end
  if (rest === 0) return undefined
  if (rest === padding && rest !== FOOTER_BYTES) return undefined
  if (rest < FOOTER_BYTES) {
    throw new AprError(
      'APR_TRUNCATED',
      `expected a file of ${align(end) + FOOTER_BYTES} bytes, found ${source.size} bytes`,
    )
  }
  const footerOffset = source.size - FOOTER_BYTES
  if (rest > padding) return footerOffset
  // As many bytes as the padding has, or fewer: padding when they are zero, else a checksum without padding before it.
  const tail = await readBytes(source, footerOffset, FOOTER_BYTES)
  return rest === padding && tail.every((byte) => byte === 0) ? undefined : footerOffset
}
