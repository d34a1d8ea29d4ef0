/** From a path or a source to a model whose data can be read. */
import { openModelInput } from '../files/model-input.js'
import type { FilePath } from '../files/path.js'
import type { RemoteAddress } from '../remote/address.js'
import type { Format, ModelInput, OpenedModel, Reading } from '../formats/format.js'
import { detectFormat } from '../formats/formats.js'
import type { ByteSource } from '../model/byte-source.js'
import { AprError } from '../model/errors.js'

/**
 * Opens an input and reads what stands before its data. Closes it when that fails.
 * @param format undefined: the one that its content tells
 * @param wrap puts a source of the caller's own before each that is opened
 * @throws AprError for every rule of the format that can be broken there, with the name of the source; the file system's
 *   own errors
 */
export async function openInput(
  input: string | URL | FilePath | RemoteAddress | ByteSource,
  format?: Format,
  wrap?: (source: ByteSource) => ByteSource,
): Promise<OpenedModel> {
  return await openModel(await openModelInput(input, wrap), format)
}

/** The same of an input that is open already. */
export async function openModel(input: ModelInput, format?: Format, reading?: Reading): Promise<OpenedModel> {
  try {
    return await (format ?? (await detectFormat(input))).open(input, reading)
  } catch (error) {
    await input.close()
    throw error instanceof AprError ? error.at({ file: input.name }) : error
  }
}
