/** What stands beside the tensors in a folder and says what they are. */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import { compareNames } from '../../model/names.js'
import type { ModelInput } from '../format.js'

/** The files that are read, by name: configuration, tokenizer, chat template, model card. */
const NAMES = [
  'README.md',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'config.json',
  'generation_config.json',
  'merges.txt',
  'preprocessor_config.json',
  'processor_config.json',
  'special_tokens_map.json',
  'tekken.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'vocab.json',
  'vocab.txt',
]

/** A folder in the folder, and how its files are named that are read. */
export const TEMPLATES_FOLDER = 'additional_chat_templates'
const TEMPLATE_ENDING = '.jinja'

/** The largest tokenizers take some tens of megabytes. */
const MAX_BYTES = 128 * 1024 * 1024

export interface SideFiles {
  /** Their content by name; of those in a folder with that, `additional_chat_templates/tool_use.jinja`. */
  readonly files: Map<string, Uint8Array>
  readonly sources: readonly ByteSource[]
}

/**
 * Reads those of the files that are there, whole.
 * @throws AprError `APR_LIMIT` for one that is too large
 */
export async function readSideFiles(input: ModelInput): Promise<SideFiles> {
  const files = new Map<string, Uint8Array>()
  const sources: ByteSource[] = []
  const there = await input.list()
  const templates = there.includes(TEMPLATES_FOLDER) ? await input.list(TEMPLATES_FOLDER) : []
  const named = [
    ...NAMES.filter((known) => input.isUnlisted === true || there.includes(known)).map((name) => ({
      name,
      inside: undefined,
    })),
    ...templates
      .filter((name) => name.endsWith(TEMPLATE_ENDING))
      .sort(compareNames)
      .map((name) => ({ name, inside: TEMPLATES_FOLDER })),
  ]
  for (const { name, inside } of named) {
    const source = await input.open(name, inside)
    if (!source) continue
    if (source.size > MAX_BYTES) {
      const what = `expected at most ${MAX_BYTES} bytes, found ${source.size}`
      throw new AprError('APR_LIMIT', what, { file: source.name })
    }
    const bytes = new Uint8Array(source.size)
    await source.read(bytes, 0)
    files.set(inside === undefined ? name : `${inside}/${name}`, bytes)
    sources.push(source)
  }
  return { files, sources }
}
