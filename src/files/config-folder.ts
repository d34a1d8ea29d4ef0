import { readSideFiles } from '../formats/formats.js'
import { openModelInput } from './model-input.js'

/**
 * The files of a folder that say what a model is: configuration, tokenizer, model card.
 * @throws the file system's own errors
 */
export async function readConfigFolder(path: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const input = await openModelInput(path)
  try {
    return (await readSideFiles(input)).files
  } finally {
    await input.close()
  }
}
