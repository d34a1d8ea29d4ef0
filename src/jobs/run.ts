/** Runs the pipeline of a job. */
import { pipeline } from 'node:stream/promises'
import { abortError } from '../model/errors.js'
import type { TensorRecord } from '../model/record.js'

/** The records one after the other, each let go of when the next is asked for. */
export function* taken(records: TensorRecord[]): Generator<TensorRecord> {
  records.reverse()
  for (let record = records.pop(); record !== undefined; record = records.pop()) yield record
}

/** Runs a pipeline to its end and waits until every stage is closed, also when one failed. */
export async function run(
  stages: readonly { once(event: 'close', listener: () => void): unknown }[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const closed = stages.map((stage) => new Promise<void>((done) => stage.once('close', done)))
  try {
    await pipeline(stages as unknown as NodeJS.ReadWriteStream[], { ...(signal && { signal }) })
  } catch (error) {
    // Not every version of Node adds the reason.
    throw signal?.aborted === true && (error as Error).name === 'AbortError' ? abortError(signal) : error
  } finally {
    await Promise.all(closed)
  }
}
