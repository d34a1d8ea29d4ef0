/** How a job opens its input: with its options checked, and a signal that can end the work. */
import { openModelInput } from '../../files/model-input.js'
import { closeUnused } from '../../files/open-source.js'
import type { ModelInput } from '../../formats/format.js'
import type { ByteSource } from '../../model/byte-source.js'
import { checkOptions, type Checked, type OptionTable } from '../../options/check.js'
import { checkNotAborted } from '../../model/errors.js'
import { abortableSources } from './abort.js'

/** Options of `inspect` and `verify`. */
export interface ReadOptions {
  /** Ends the work; the promise rejects with an `AbortError` whose `cause` is the signal's reason. */
  signal?: AbortSignal | undefined
}

/**
 * Checks options and opens the input. A ByteSource is closed when that fails.
 * @param checkTogether throws where options make no sense together
 * @throws AprError `APR_BAD_OPTION`, the file system's own errors, and an `AbortError`
 */
export async function openToRead<T extends ReadOptions, Table extends OptionTable<T>>(
  input: string | URL | ByteSource,
  options: T,
  table: Table,
  checkTogether: (options: Checked<T, Table>) => void = () => undefined,
): Promise<{ input: ModelInput; options: Checked<T, Table> }> {
  try {
    const checked = checkOptions(options, table)
    checkTogether(checked)
    const { signal } = checked as ReadOptions
    checkNotAborted(signal)
    const wrap = signal && abortableSources(signal)
    return { input: await openModelInput(input, wrap), options: checked }
  } catch (error) {
    await closeUnused(input)
    throw error
  }
}
