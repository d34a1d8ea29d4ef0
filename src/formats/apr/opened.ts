/** A file whose header, metadata and index were read: what its tensors and the bytes between them have to be. */
import { appendZerosCrc32, combineCrc32 } from '../../checksum/combine.js'
import { crc32 } from '../../checksum/crc32.js'
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import {
  checkZero,
  fileOf,
  type FileDescription,
  type ModelInput,
  type OpenedModelOf,
  type PlacedTensor,
} from '../format.js'
import { flagNames, FOOTER_BYTES, hex, type AprHeader } from './header.js'
import type { AprModel } from './model.js'

/** A part of the file that holds something. */
export interface Section {
  readonly position: number
  readonly size: number
  /** Bytes behind it up to the next section, or to the checksum: they must be zero. */
  gap: number
  /** Its CRC-32, once all of it was read. */
  crc: number
}

/** The bytes of a tensor. */
export interface TensorSection extends Section, PlacedTensor {
  padding: number
}

/** Gaps that are no padding are read in pieces of this size. */
const GAP_CHUNK_BYTES = 64 * 1024

export class OpenedAprModel implements OpenedModelOf<AprModel> {
  readonly input: ModelInput
  readonly sources: readonly ByteSource[]
  readonly #source: ByteSource
  readonly model: AprModel
  readonly tensors: readonly TensorSection[]
  readonly #header: AprHeader
  /** Header, metadata, index and every tensor that has bytes, in the order of the file. */
  readonly #sections: readonly Section[]
  /** Where the CRC-32 stands at the end of the file; undefined when the file has none. */
  readonly #footerOffset: number | undefined

  constructor(
    input: ModelInput,
    header: AprHeader,
    model: AprModel,
    tensors: readonly TensorSection[],
    sections: readonly Section[],
    footerOffset: number | undefined,
  ) {
    this.input = input
    this.#source = fileOf(input)
    this.sources = [this.#source]
    this.model = model
    this.tensors = tensors
    this.#header = header
    this.#sections = sections
    this.#footerOffset = footerOffset
  }

  get size(): number {
    return this.#source.size
  }

  get version(): string | undefined {
    return this.#source.version
  }

  get hasChecksum(): boolean {
    return this.#footerOffset !== undefined
  }

  describe(): FileDescription {
    const { flags, minorVersion } = this.#header
    const { metadata: metadataText } = this.model
    const metadata = JSON.parse(metadataText) as Record<string, unknown>
    return { version: `2.${minorVersion}`, flags, flagNames: flagNames(flags), metadata, metadataText }
  }

  passed(tensor: TensorSection, data: Uint8Array): void {
    tensor.crc = crc32(data, tensor.crc)
  }

  passedAs(tensor: TensorSection, crc: number): void {
    tensor.crc = crc
  }

  /** Checks the gaps that no tensor's padding is, and the checksum. */
  async finish(): Promise<void> {
    let crc = 0
    for (const section of this.#sections) {
      crc = combineCrc32(crc, section.crc, section.size)
      crc = appendZerosCrc32(crc, section.gap)
      const wasRead = 'tensor' in section && section.gap === (section as TensorSection).padding
      if (!wasRead) await this.#checkGap(section.position + section.size, section.gap)
    }
    if (this.#footerOffset !== undefined) await this.#checkFooter(this.#footerOffset, crc)
  }

  async #checkGap(start: number, size: number): Promise<void> {
    const chunk = new Uint8Array(Math.min(size, GAP_CHUNK_BYTES))
    for (let done = 0; done < size; done += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, size - done))
      await this.#source.read(part, start + done)
      checkZero(part, start + done, this.#source.name)
    }
  }

  async #checkFooter(offset: number, crc: number): Promise<void> {
    const footer = new Uint8Array(FOOTER_BYTES)
    await this.#source.read(footer, offset)
    const stored = new DataView(footer.buffer).getUint32(0, true)
    if (stored === crc) return
    const what = `expected checksum ${hex(crc)} at the end of the file, found ${hex(stored)}`
    throw new AprError('APR_BAD_CRC', what, { file: this.#source.name, offset })
  }
}
