import { crc32 } from '../../checksum/crc32.js'
import { AprError, checkNotAborted } from '../../model/errors.js'
import { checkOptions } from '../../options/check.js'
import { PART_OPTIONS } from '../../options/parts-table.js'
import type { BlockReceipt, BlockSink, PartsPlan } from '../../parts/blocks.js'
import { blockRange } from '../../parts/cut.js'
import { checkPlan, unitOf } from './document.js'
import { withJob } from './kept-job.js'
import type { OpenedJob } from './opened-job.js'
import type { PartOptions, PartProgress } from './options.js'
import { withSink } from './sink.js'

/**
 * Makes one unit of a plan: reads what its blocks need, makes them, and puts each to its place. May be called again, by any
 * process of any machine, also while another one is at the same unit: what is there already is left out, and who is late
 * writes the same bytes.
 *
 * @param unit its number, from 0 on
 * @returns a receipt of each of its blocks; of a plan that is finished none
 * @throws AprError `APR_SOURCE_CHANGED`, `APR_PARTS_MISSING` for a plan that was aborted, and what `quantize` and `convert` find
 *   wrong with the input
 * @throws an `AbortError` when `signal` ends the work
 */
export async function part(plan: PartsPlan, unit: number, options: PartOptions = {}): Promise<BlockReceipt[]> {
  const { signal, onProgress, threads } = checkOptions(options, PART_OPTIONS)
  const [first, end] = unitOf(checkPlan(plan), unit)
  checkNotAborted(signal)
  return await withSink(plan, async (sink) => {
    if (await sink.finished()) return []
    const receipts = await sink.have(first, end)
    const progress = new Progress(plan, first, end, onProgress)
    receipts.forEach(({ block }) => progress.add(block))
    const there = new Set(receipts.map(({ block }) => block))
    const missing = range(first, end).filter((block) => !there.has(block))
    if (missing.length > 0) {
      await withJob(plan, threads, async (job) => {
        const maker = new BlockMaker(plan, job, sink, signal)
        await atOnce(missing, underWay(threads, missing.length), async (block) => {
          receipts.push(await maker.make(block))
          progress.add(block)
        })
      }).catch(async (error: unknown) => {
        // Somebody else has made all of it, and finished, while this one was late.
        if (!(error instanceof AprError && error.code === 'APR_PARTS_MISSING' && (await sink.finished()))) throw error
        receipts.length = 0
      })
    }
    return receipts.sort((a, b) => a.block - b.block)
  })
}

/** Makes blocks and puts them to their places. */
export class BlockMaker {
  readonly #plan: PartsPlan
  readonly #job: OpenedJob
  readonly #sink: BlockSink
  readonly #signal: AbortSignal | undefined
  /** Memory of blocks that are in their places. */
  readonly #free: Uint8Array[] = []

  constructor(plan: PartsPlan, job: OpenedJob, sink: BlockSink, signal: AbortSignal | undefined) {
    this.#plan = plan
    this.#job = job
    this.#sink = sink
    this.#signal = signal
  }

  /** @param fill puts into the block what is not made of tensors, when all else of it is there */
  async make(block: number, fill?: (bytes: Uint8Array) => void): Promise<BlockReceipt> {
    const signal = this.#signal
    checkNotAborted(signal)
    const { start, size } = blockRange(this.#plan, block)
    const memory = this.#free.pop() ?? new Uint8Array(Math.min(this.#plan.blockBytes, this.#plan.totalBytes))
    try {
      const bytes = memory.subarray(0, size)
      const { fileSize, tailBytes } = this.#job
      const made = bytes.subarray(0, Math.max(0, Math.min(size, fileSize - tailBytes - start)))
      const { sources } = await this.#job.makeBytes(made, start, { ...(signal && { signal }) })
      checkNotAborted(signal)
      fill?.(bytes)
      const receipt = { block, crc32: crc32(bytes), sources }
      return await this.#sink.put(receipt, bytes, { ...(signal && { signal }) })
    } catch (error) {
      throw error instanceof AprError ? error.at({ file: this.#job.summary.input }) : error
    } finally {
      this.#free.push(memory)
    }
  }
}

/** Tells how far the work is. */
export class Progress {
  readonly #plan: PartsPlan
  readonly #told: ((progress: PartProgress) => void) | undefined
  readonly #total: Pick<PartProgress, 'totalBlocks' | 'totalBytes'>
  #blocks = 0
  #bytes = 0

  constructor(plan: PartsPlan, first: number, end: number, told: ((progress: PartProgress) => void) | undefined) {
    this.#plan = plan
    this.#told = told
    const totalBytes = range(first, end).reduce((sum, block) => sum + blockRange(plan, block).size, 0)
    this.#total = { totalBlocks: end - first, totalBytes }
  }

  add(block: number): void {
    this.#blocks++
    this.#bytes += blockRange(this.#plan, block).size
    this.#told?.({ blocks: this.#blocks, bytes: this.#bytes, ...this.#total })
  }
}

export function range(first: number, end: number): number[] {
  return Array.from({ length: end - first }, (_, i) => first + i)
}

/** One is made while another one is on its way to its place. */
const LEAST_UNDER_WAY = 2
/** Each takes memory, and one that is being made keeps several threads busy. */
const MOST_UNDER_WAY = 4

/** Blocks that are under way at once. */
export function underWay(threads: number | undefined, blocks: number): number {
  return Math.min(blocks, Math.max(LEAST_UNDER_WAY, Math.min(MOST_UNDER_WAY, threads ?? LEAST_UNDER_WAY)))
}

/** Works on all items, some at once; after a failure no other is begun, and those under way are waited for. */
async function atOnce<T>(items: readonly T[], count: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values()
  let failed = false
  const results = await Promise.allSettled(
    Array.from({ length: count }, async () => {
      for (const item of left) {
        if (failed) return
        await work(item).catch((error: unknown) => {
          failed = true
          throw error
        })
      }
    }),
  )
  const failure = results.find((result) => result.status === 'rejected')
  if (failure) throw failure.reason
}
