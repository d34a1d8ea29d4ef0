/** Checks an input as a whole when its bytes were read in parts, by whoever it was. */
import { combineCrc32 } from '../../checksum/combine.js'
import { crc32 } from '../../checksum/crc32.js'
import { checkZero, type OpenedModel, type PlacedTensor } from '../../formats/format.js'
import { DTYPES } from '../../model/dtypes.js'
import type { SourceRun } from '../../parts/blocks.js'
import { checkScales } from '../../records/check-scales.js'

/** Bytes that nobody has read are read in pieces of this size. */
const CHUNK_BYTES = 1024 * 1024

/**
 * @param runs what was read, each with its CRC-32; two of the same bytes count once
 * @throws AprError `APR_BAD_CRC`, and as a reader does at its end
 */
export async function finishSources(opened: OpenedModel, runs: Iterable<SourceRun>): Promise<void> {
  if (opened.hasChecksum) {
    const sorted = [...runs].sort((a, b) => a.file - b.file || a.start - b.start || b.end - a.end)
    const tensors = [...opened.tensors].sort((a, b) => a.file - b.file || a.position - b.position)
    let next = 0
    for (const placed of tensors) {
      const mine: SourceRun[] = []
      for (let run = sorted[next]; run && isBefore(run, placed); run = sorted[++next]) mine.push(run)
      opened.passedAs?.(placed, await crcOf(opened, placed, mine))
    }
  }
  await opened.finish()
  await opened.input.checkUnchanged()
}

function isBefore({ file, start }: SourceRun, { file: of, position, tensor }: PlacedTensor): boolean {
  return file < of || (file === of && start < position + tensor.size)
}

async function crcOf(opened: OpenedModel, placed: PlacedTensor, runs: readonly SourceRun[]): Promise<number> {
  const { position, tensor } = placed
  const end = position + tensor.size
  let crc = 0
  let done = position
  const readTo = async (until: number): Promise<void> => {
    crc = combineCrc32(crc, await readCrc(opened, placed, done - position, until - position), until - done)
    done = until
  }
  for (const run of runs) {
    // Bytes of two runs count once; what one has beyond another is read.
    if (run.start < position || run.end > end || run.end <= done) continue
    if (run.start > done) await readTo(run.start)
    if (run.start === done) {
      crc = combineCrc32(crc, run.crc32, run.end - run.start)
      done = run.end
    } else {
      await readTo(run.end)
    }
  }
  if (done < end) await readTo(end)
  return crc
}

/** Reads some of a tensor's bytes, and checks what a reader checks. */
async function readCrc(
  { sources }: OpenedModel,
  { tensor, file, position, padding }: PlacedTensor,
  start: number,
  end: number,
): Promise<number> {
  const source = sources[file]
  const { blockBytes, scaleOffsets } = DTYPES[tensor.dtype]
  const unit = scaleOffsets.length > 0 ? blockBytes : 1
  const step = Math.max(1, Math.floor(CHUNK_BYTES / unit)) * unit
  let crc = 0
  for (let at = start; at < end;) {
    const until = Math.min(end, at - (at % unit) + step)
    const behind = until === tensor.size ? padding : 0
    const bytes = new Uint8Array(until - at + behind)
    await source?.read(bytes, position + at)
    const data = bytes.subarray(0, until - at)
    checkZero(bytes.subarray(until - at), position + until, source?.name ?? '')
    if (at % unit === 0)
      checkScales(tensor, data.subarray(0, data.length - (data.length % unit)), at, source?.name ?? '')
    crc = crc32(data, crc)
    at = until
  }
  return crc
}
