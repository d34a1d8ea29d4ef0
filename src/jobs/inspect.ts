import { FLAGS, flagNames } from '../formats/apr/header.js'
import type { ByteSource } from '../files/byte-source.js'
import { openInput } from '../formats/apr/open.js'
import { parameterCount, type TensorInfo } from '../model/tensor.js'
import { READ_OPTIONS } from '../options/table.js'
import { openToRead, type ReadOptions } from './input.js'

/** A tensor and where it stands. */
export interface InspectedTensor extends TensorInfo {
  /** Absolute offset of its data in the file, in bytes. */
  readonly position: number
}

export interface Inspection {
  readonly file: string
  /** Bytes. */
  readonly size: number
  readonly version: string
  /** The header's flag bits, and the names of those that are set. */
  readonly flags: number
  readonly flagNames: readonly (keyof typeof FLAGS | (string & {}))[]
  /** The metadata, parsed; `metadataText` holds it as it stands in the file. */
  readonly metadata: Readonly<Record<string, unknown>>
  readonly metadataText: string
  /** Elements of all tensors together. */
  readonly parameters: number
  /** Whether the file ends with a checksum; `verify` says whether it is right. */
  readonly hasFooter: boolean
  /** In the order of the index. */
  readonly tensors: readonly InspectedTensor[]
}

/**
 * Reads header, metadata and index, and checks them; no byte of a tensor is read.
 *
 * @param input a path, a `file:` URL, or a ByteSource, which is closed at the end
 * @throws AprError for every rule that header, metadata and index can break, and `APR_BAD_OPTION`
 * @throws an `AbortError` when `signal` ends the work
 */
export async function inspect(input: string | URL | ByteSource, options: ReadOptions = {}): Promise<Inspection> {
  const { source, open } = await openInput((await openToRead(input, options, READ_OPTIONS)).source)
  try {
    const { header, model, tensors, footerOffset } = open
    return {
      file: source.name,
      size: source.size,
      version: `2.${header.minorVersion}`,
      flags: header.flags,
      flagNames: flagNames(header.flags),
      metadata: JSON.parse(model.metadata) as Record<string, unknown>,
      metadataText: model.metadata,
      parameters: parameterCount(model.tensors),
      hasFooter: footerOffset !== undefined,
      tensors: tensors.map(({ tensor, start }) => ({ ...tensor, position: start })),
    }
  } finally {
    await source.close()
  }
}
