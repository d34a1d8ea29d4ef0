/** The formats that there are: the one place that knows them all. */
import { AprError, printable } from '../model/errors.js'
import type { Model, ModelOf, Models } from '../model/model.js'
import { apr } from './apr/format.js'
import type { Format, FormatOf } from './format.js'

export type { AprModel } from './apr/model.js'

export const FORMATS: { readonly [Name in keyof Models]: FormatOf<Models[Name]> } = { apr }

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
