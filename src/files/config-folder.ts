import type { ConfigFolder } from '../convert/hf-source.js'
import { readSideFiles } from '../formats/formats.js'
import { openModelInput } from './model-input.js'

/**
 * The files of a folder that say what a model is: configuration, tokenizer, model card.
 * @throws the file system's own errors
 */
export async function readConfigFolder(path: string): Promise<ConfigFolder> {
  const input = await openModelInput(path)
  try {
    return { name: input.folderName, files: (await readSideFiles(input)).files }
  } finally {
    await input.close()
  }
}
