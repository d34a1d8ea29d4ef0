import { combineCrc32 } from '../../checksum/combine.js'
import { crc32 } from '../../checksum/crc32.js'
import { AprError, checkNotAborted } from '../../model/errors.js'
import { checkOptions, type Checked } from '../../options/check.js'
import { FINISH_OPTIONS } from '../../options/parts-table.js'
import type { BlockReceipt, BlockSink, Finished, PartsPlan, SourceRun } from '../../parts/blocks.js'
import { blockCount, blockRange, firstOfFinish } from '../../parts/cut.js'
import { checkPlan } from './document.js'
import { closeJob, withJob } from './kept-job.js'
import type { OpenedJob } from './opened-job.js'
import type { FinishOptions } from './options.js'
import { BlockMaker, Progress, range } from './part.js'
import { withSink } from './sink.js'

/**
 * Ends a plan whose units are all made: checks that every block is there, and the input's own checksum where the receipts
 * tell it, makes the last block, and puts the output to its place in one step. May be called again, also when it is done.
 *
 * @throws AprError `APR_PARTS_MISSING` with the units that lack blocks, `APR_BAD_CRC` for an input that is damaged, `APR_EXISTS`
 * @throws an `AbortError` when `signal` ends the work
 */
export async function finish(plan: PartsPlan, options: FinishOptions = {}): Promise<Finished> {
  const checked = checkOptions(options, FINISH_OPTIONS)
  checkPlan(plan)
  checkNotAborted(checked.signal)
  try {
    return await withSink(plan, async (sink) => {
      const done = await sink.finished()
      if (done) return done
      return await finishWith(plan, sink, checked).catch(async (error: unknown) => {
        // Another one has finished while this one was late.
        const other =
          error instanceof AprError && error.code === 'APR_PARTS_MISSING' ? await sink.finished() : undefined
        if (other) return other
        throw error
      })
    })
  } finally {
    await closeJob(plan)
  }
}

interface Ending {
  readonly plan: PartsPlan
  readonly sink: BlockSink
  readonly job: OpenedJob
  readonly signal: AbortSignal | undefined
  readonly onProgress: FinishOptions['onProgress']
}

async function finishWith(
  plan: PartsPlan,
  sink: BlockSink,
  { signal, onProgress, receipts }: Checked<FinishOptions, typeof FINISH_OPTIONS>,
): Promise<Finished> {
  const found = await gather(plan, sink, receipts)
  // Opened anew: what was opened while the parts were made may have changed since.
  await closeJob(plan)
  return await withJob(plan, undefined, (job) => complete({ plan, sink, job, signal, onProgress }, found))
}

/**
 * The receipts of all units.
 * @throws AprError `APR_PARTS_MISSING`
 */
async function gather(plan: PartsPlan, sink: BlockSink, given: readonly BlockReceipt[] = []): Promise<BlockReceipt[]> {
  const stored = await sink.have(0, firstOfFinish(plan))
  // What was read is not kept everywhere: then those who have made the blocks may tell it.
  const told = new Map(given.map((receipt) => [receipt.block, receipt]))
  const found = stored.map((receipt) => {
    const other = told.get(receipt.block)
    return (receipt.sources ?? other?.crc32 !== receipt.crc32) ? receipt : { ...receipt, ...pick(other) }
  })
  refuseMissing(plan, found)
  return found
}

function pick(receipt: BlockReceipt | undefined): Pick<BlockReceipt, 'sources'> {
  return receipt?.sources ? { sources: receipt.sources } : {}
}

/** Of so many units the numbers stand in the message. */
const NAMED_UNITS = 20

function refuseMissing(plan: PartsPlan, found: readonly BlockReceipt[]): void {
  const there = new Set(found.map(({ block }) => block))
  const lacking = plan.units.flatMap(([first, end], unit) =>
    range(first, end).every((b) => there.has(b)) ? [] : [unit],
  )
  if (lacking.length === 0) return
  const named = lacking.slice(0, NAMED_UNITS).join(', ')
  const more = lacking.length > NAMED_UNITS ? ` and ${lacking.length - NAMED_UNITS} more` : ''
  const what = `expected the blocks of all ${plan.units.length} units, found some missing of ${lacking.length}: ${named}${more}`
  throw new AprError('APR_PARTS_MISSING', what, { file: plan.output })
}

async function complete(ending: Ending, receipts: BlockReceipt[]): Promise<Finished> {
  const { plan, sink, job, signal, onProgress } = ending
  const maker = new BlockMaker(plan, job, sink, signal)
  const [first, end] = [firstOfFinish(plan), blockCount(plan)]
  const progress = new Progress(plan, first, end, onProgress)
  let crc = 0
  const add = ({ block, crc32: own }: BlockReceipt): void => {
    crc = combineCrc32(crc, own, blockRange(plan, block).size)
  }
  receipts.forEach(add)

  let tail: Uint8Array | undefined
  const dataEnd = plan.totalBytes - job.tailBytes
  for (let block = first; block < end; block++) {
    const { start, size } = blockRange(plan, block)
    const receipt = await maker.make(block, (bytes) => {
      // Of a tail that a border cuts both blocks are made here.
      if (start + size <= dataEnd) return
      const inBlock = Math.max(0, dataEnd - start)
      tail ??= job.tail(combineCrc32(crc, crc32(bytes.subarray(0, inBlock)), inBlock))
      bytes.set(tail.subarray(start + inBlock - dataEnd, start + size - dataEnd), inBlock)
    })
    receipts.push(receipt)
    add(receipt)
    progress.add(block)
  }
  await checkSources(job, receipts)
  checkNotAborted(signal)
  return await sink.complete(receipts, crc, job.origin?.mode)
}

/** The input as a whole, its own checksum too, where all tell what they have read: else all of it would be read again. */
async function checkSources(job: OpenedJob, receipts: readonly BlockReceipt[]): Promise<void> {
  const runs: SourceRun[] = []
  for (const { sources } of receipts) {
    if (!sources) return
    runs.push(...sources)
  }
  await job.finishSources(runs)
}
