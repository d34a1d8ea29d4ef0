/** Reads what steps need, ahead of need, and small things that stand side by side at once. */
import { checkZero } from '../formats/format.js'
import type { ByteSource } from '../model/byte-source.js'
import { checkScales } from '../records/check-scales.js'
import { passedBytes, type Read, type Step } from './steps.js'

/** Bytes between two reads up to which they are one: what stands between them costs less than a read of its own. */
const MAX_GAP_BYTES = 4096

/** A step, and the bytes of its reads: `head` and `reads`, without what stands behind them. */
export interface ReadStep {
  readonly step: Step
  readonly head: Uint8Array | undefined
  readonly data: readonly Uint8Array[]
}

/** Bytes that are read at once. */
interface Fetch {
  readonly file: number
  readonly position: number
  end: number
  bytes: Uint8Array
}

/** Steps whose bytes are read together. */
interface Batch {
  readonly steps: readonly Step[]
  readonly bytes: number
  readonly fetchOf: ReadonlyMap<Read, Fetch>
  readonly done: Promise<unknown>
}

export interface ReadAheadOptions {
  /** Bytes that are read at once at the most, where a step needs no more. */
  readonly recordBytes: number
  /** Bytes that are read ahead at the most; one batch at least. */
  readonly highWaterMark: number
}

/**
 * The steps, in their order, with their bytes. What must be zero and which scales must be finite is checked.
 * No read is under way when it has ended, in whatever way.
 */
export async function* readAhead(
  steps: Iterable<Step>,
  sources: readonly ByteSource[],
  { recordBytes, highWaterMark }: ReadAheadOptions,
): AsyncGenerator<ReadStep> {
  const iterator = steps[Symbol.iterator]()
  const pending: Batch[] = []
  let pendingBytes = 0
  let isAtEnd = false
  try {
    for (;;) {
      while (!isAtEnd && (pending.length === 0 || pendingBytes < highWaterMark)) {
        const batch = nextBatch(iterator, sources, recordBytes)
        if (!batch) isAtEnd = true
        else pendingBytes += batch.bytes
        if (batch) pending.push(batch)
      }
      const batch = pending.shift()
      if (!batch) return
      await batch.done
      pendingBytes -= batch.bytes
      for (const step of batch.steps) yield takeStep(step, batch.fetchOf, sources)
    }
  } finally {
    await Promise.allSettled(pending.map(({ done }) => done))
  }
}

function nextBatch(steps: Iterator<Step>, sources: readonly ByteSource[], recordBytes: number): Batch | undefined {
  const taken: Step[] = []
  const fetchOf = new Map<Read, Fetch>()
  const fetches: Fetch[] = []
  let bytes = 0
  while (bytes < recordBytes) {
    const next = steps.next()
    if (next.done === true) break
    taken.push(next.value)
    for (const read of readsOf(next.value)) {
      const { file, position } = read.source
      const [start, end] = [position + read.start, position + endOf(read)]
      if (start === end) continue
      let fetch = fetches.at(-1)
      const joins = fetch?.file === file && start >= fetch.position && start - fetch.end <= MAX_GAP_BYTES
      if (!fetch || !joins || Math.max(end, fetch.end) - fetch.position > Math.max(recordBytes, end - start)) {
        fetch = { file, position: start, end: start, bytes: new Uint8Array(0) }
        fetches.push(fetch)
      }
      bytes += Math.max(0, end - fetch.end)
      fetch.end = Math.max(fetch.end, end)
      fetchOf.set(read, fetch)
    }
  }
  if (taken.length === 0) return undefined
  const done = Promise.all(fetches.map((fetch) => readFetch(fetch, sources)))
  // A failure is told when the batch's turn comes.
  done.catch(() => undefined)
  return { steps: taken, bytes, fetchOf, done: Promise.allSettled([done]).then(() => done) }
}

async function readFetch(fetch: Fetch, sources: readonly ByteSource[]): Promise<void> {
  const { file, position, end } = fetch
  // Not out of Node's own pool: records are transferred to threads, whole buffers at a time.
  fetch.bytes = new Uint8Array(Buffer.allocUnsafeSlow(end - position).buffer)
  await sources[file]?.read(fetch.bytes, position)
}

function readsOf({ head, reads }: Step): readonly Read[] {
  return head ? [head, ...reads] : reads
}

/** Behind a tensor's last byte its padding is read with it. */
function endOf({ source: { tensor, padding }, end }: Read): number {
  return end === tensor.size ? end + padding : end
}

function takeStep(step: Step, fetchOf: ReadonlyMap<Read, Fetch>, sources: readonly ByteSource[]): ReadStep {
  const bytesOf = (read: Read): Uint8Array => {
    const fetch = fetchOf.get(read)
    if (!fetch) return new Uint8Array(0)
    const { tensor, file, position } = read.source
    const name = sources[file]?.name ?? ''
    const start = position + read.start - fetch.position
    const end = start + read.end - read.start
    checkZero(fetch.bytes.subarray(end, start + endOf(read) - read.start), position + read.end, name)
    const data = fetch.bytes.subarray(start, end)
    // A scale is looked at where its block is whole: of what is read from inside a block none has any.
    if (read.start % passedBytes(tensor.dtype) === 0) checkScales(tensor, data, read.start, name)
    return data
  }
  const { head } = step
  return { step, head: head && bytesOf(head), data: step.reads.map(bytesOf) }
}
