/**
 * What a thread runs that makes parts of an output: it reads, fits and writes for itself, one task at a time. The build
 * makes one script of it and all it imports.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { crc32 } from '../../checksum/crc32.js'
import { createSimdKernel } from '../../quant/simd.js'
import { performTask } from '../../quant/runs/task.js'
import { makeRanges, type Workshop } from '../make.js'
import type { PartRange } from '../part-tensor.js'
import { OutputWriter, openSources } from './files.js'
import { sendError, type PartAnswer, type PartDone, type PartTask, type TaskRange, type ThreadSetup } from './task.js'

const setup = workerData as ThreadSetup
const kernel = createSimdKernel(setup.kernel)
const sources = openSources(setup.sources)
const output = new OutputWriter(setup.outputs)

async function perform({ ranges }: PartTask): Promise<PartDone> {
  const indexOf = new Map<PartRange, number>(ranges.map((range, i) => [range, i]))
  const rangeOf = new Map(ranges.map((range) => [range.part, range]))
  const crcs = ranges.map(() => 0)
  const workshop: Workshop = {
    sources,
    perform: (run, to, _tensor, mayOverwrite) => performTask({ run, to, mayOverwrite }, kernel),
    kernel: () => kernel,
    importance: (part, first, count) => Promise.resolve(rowsOf(rangeOf.get(part), first, count)),
    hasChecksum: setup.hasChecksum,
    recordBytes: setup.recordBytes,
    // One read is under way while another's bytes are made into something.
    highWaterMark: 2 * setup.recordBytes,
    windowBytes: 0,
  }
  const made = await makeRanges(ranges, workshop, (range, offset, bytes) => {
    const index = indexOf.get(range) ?? 0
    const { place, end } = range as TaskRange
    if (!place) return
    crcs[index] = crc32(bytes, crcs[index])
    const isEnd = offset + bytes.length === end && end === range.part.to.size
    output.put(bytes, place.file, place.position + offset, isEnd ? place.padding : 0)
  })
  output.flush()
  const lost = ranges.flatMap(({ part }, i) => {
    const found = made.lost.get(part.to)
    return found ? [[i, found] as const] : []
  })
  return { crcs, sources: made.sources, lost }
}

/** Rows of the importance matrix that came with the task. */
function rowsOf(range: TaskRange | undefined, first: number, count: number): Float32Array {
  const { importance, part } = range ?? {}
  if (!importance || !part) throw new Error('a task with importance brings its rows')
  const width = part.from.shape.at(-1) ?? 1
  const start = (first - importance.first) * width
  return importance.values.subarray(start, start + count * width)
}

let last: Promise<unknown> = Promise.resolve()

parentPort?.on('message', (task: PartTask) => {
  last = last.then(async () => {
    const answer: PartAnswer = await perform(task).catch((error: unknown) => ({ error: sendError(error) }))
    parentPort?.postMessage(answer)
  })
})
