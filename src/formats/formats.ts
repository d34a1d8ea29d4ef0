/** The formats that there are: the one place that knows them all. */
import { AprError, printable } from '../model/errors.js'
import type { Model, ModelOf, Models } from '../model/model.js'
import { apr } from './apr/format.js'
import { identify } from './identify.js'
import { gguf } from './gguf/format.js'
import { safetensors } from './safetensors/format.js'
import type { Format, FormatOf, ModelInput } from './format.js'

export { HELD_DTYPES as APR_DTYPES } from './apr/dtypes.js'
export { findMembers } from './apr/json-members.js'
export { metadataEntries, metadataValue } from './apr/metadata.js'
export { makeAprModel, type AprModel } from './apr/model.js'
export { isGgufDType } from './gguf/dtypes.js'
export type { GgufModel } from './gguf/model.js'
export type { SafetensorsModel } from './safetensors/model.js'
export * from './gguf/kv.js'
export { readSideFiles } from './safetensors/side-files.js'

export const FORMATS: { readonly [Name in keyof Models]: FormatOf<Models[Name]> } = { apr, gguf, safetensors }

const BY_NAME: ReadonlyMap<string, Format> = new Map(Object.entries(FORMATS))

/**
 * The format of a model.
 * @throws AprError `APR_BAD_RECORD` for one that there is not
 */
export function formatOf(model: Model): Format {
  const { format }: ModelOf<string> = model
  const found = BY_NAME.get(format)
  if (found) return found
  const known = Object.keys(FORMATS).join(', ')
  throw new AprError('APR_BAD_RECORD', `expected a model of the format ${known}, found ${printable(format)}`)
}

/** Bytes of a file's start by which its format is told. */
const START_BYTES = 64

/**
 * The format of an input, told by its content. A file of none of them is given to the format that its name speaks of,
 * which says what is wrong with it.
 * @throws AprError `APR_BAD_MAGIC` for one that is of none
 */
export async function detectFormat({ file, fileName, name }: ModelInput): Promise<Format> {
  const start = file && new Uint8Array(Math.min(START_BYTES, file.size))
  if (file && start) await file.read(start, 0)
  const all: Format[] = [...BY_NAME.values()]
  const named = fileName === '' ? name : fileName
  const found =
    all.find((format) => format.matches(start, fileName)) ?? all.find(({ extension }) => named.endsWith(extension))
  if (found) return found
  const known = all.map((format) => format.name).join(', ')
  const what = `expected a model of the formats ${known}, found ${start?.length ? identify(start) : 'an empty file'}`
  throw new AprError('APR_BAD_MAGIC', what, { file: name })
}
