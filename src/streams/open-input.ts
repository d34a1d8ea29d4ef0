/** From a path or a source to a model whose data can be read. */
import { openSource } from '../files/open-source.js'
import type { FilePath } from '../files/path.js'
import type { Format, OpenedModel } from '../formats/format.js'
import { FORMATS } from '../formats/formats.js'
import type { ByteSource } from '../model/byte-source.js'
import { AprError } from '../model/errors.js'

/**
 * Opens a source and reads what stands before its data. Closes it when that fails.
 * @throws AprError for every rule of the format that can be broken there, with the name of the source; the file system's
 *   own errors
 */
export async function openInput(
  input: string | URL | FilePath | ByteSource,
  format: Format = FORMATS.apr,
): Promise<OpenedModel> {
  const source = await openSource(input)
  try {
    return await format.open(source)
  } catch (error) {
    await source.close()
    throw error instanceof AprError ? error.at({ file: source.name }) : error
  }
}
