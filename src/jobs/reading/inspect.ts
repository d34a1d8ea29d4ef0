import type { FileDescription } from '../../formats/format.js'
import type { ByteSource } from '../../model/byte-source.js'
import { openModel } from '../../streams/open-input.js'
import { parameterCount, type TensorInfo } from '../../model/tensor.js'
import { READ_OPTIONS } from '../../options/table.js'
import type { FormatName } from '../../model/model.js'
import { openToRead, type ReadOptions } from './input.js'

/** A tensor and where it stands. */
export interface InspectedTensor extends TensorInfo {
  /** Absolute offset of its data in the file, in bytes. */
  readonly position: number
  /** Name of that file, where the model is several. */
  readonly file?: string
}

export interface Inspection extends FileDescription {
  readonly file: string
  readonly format: FormatName
  /** Bytes of all its files. */
  readonly size: number
  /** Where the tensors stand in several files, or in a folder: these, with their sizes in bytes. */
  readonly files?: readonly { readonly name: string; readonly size: number }[]
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
 * @param input a path of a file or folder, a `file:` URL, or a ByteSource, which is closed at the end
 * @throws AprError for every rule that header, metadata and index can break, and `APR_BAD_OPTION`
 * @throws an `AbortError` when `signal` ends the work
 */
export async function inspect(input: string | URL | ByteSource, options: ReadOptions = {}): Promise<Inspection> {
  const opened = await openModel((await openToRead(input, options, READ_OPTIONS)).input)
  const { model, tensors, sources } = opened
  const isSeveral = sources.length > 1 || opened.input.file === undefined
  try {
    return {
      file: opened.input.name,
      format: model.format,
      size: opened.size,
      ...(isSeveral && { files: sources.map(({ name, size }) => ({ name, size })) }),
      ...opened.describe(),
      parameters: parameterCount(model.tensors),
      hasFooter: opened.hasChecksum,
      tensors: tensors.map(({ tensor, position, file }) => {
        const name = sources[file]?.name
        return { ...tensor, position, ...(isSeveral && name !== undefined && { file: name }) }
      }),
    }
  } finally {
    await opened.input.close()
  }
}
