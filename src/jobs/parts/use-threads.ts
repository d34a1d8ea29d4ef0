/** Whether a job takes the way of many cores. */
import { availableParallelism } from 'node:os'
import { localFileOf } from '../../files/local-file.js'
import type { OpenedModel } from '../../formats/format.js'
import { AprError } from '../../model/errors.js'

/** With fewer the streams are as fast: one thread reads and writes while the others fit. */
const MIN_THREADS = 3
/** A thread is started for so many bytes of a copy or a conversion: some milliseconds of work. */
const BYTES_PER_THREAD = 64 * 1024 * 1024

/**
 * How many threads are to make the output; 0 where the streams do.
 * @param threads that there is work for
 * @throws AprError `APR_BAD_OPTION` for an environment variable that says neither `always` nor `never`
 */
export function threadsForParts({ sources }: OpenedModel, threads: number): number {
  const asked = process.env['APR_MANY_CORES'] ?? ''
  if (!['', 'always', 'never'].includes(asked)) {
    throw new AprError('APR_BAD_OPTION', `expected APR_MANY_CORES to be always or never, found ${asked}`)
  }
  // Others than files can only be read by who has opened them.
  const areFiles = sources.every((source) => localFileOf(source) && source.identity)
  if (!areFiles || asked === 'never') return 0
  if (asked === 'always') return Math.max(1, threads)
  return threads >= MIN_THREADS ? threads : 0
}

/** How many threads there is work for where nothing is quantized. */
export function threadsToConvert(inputBytes: number): number {
  return Math.min(availableParallelism(), Math.floor(inputBytes / BYTES_PER_THREAD))
}
