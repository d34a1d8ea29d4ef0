/** Streaming or whole in memory: which, and what it takes. Both give the same file. */
import { readFile } from 'node:fs/promises'
import { AprError } from '../model/errors.js'
import { checkChoiceOption, READER_OPTIONS } from '../streams/options.js'
import { Q4K_OPTIONS } from '../streams/quantize-model.js'

export type Mode = 'stream' | 'memory'

export interface ModeOptions {
  /**
   * `stream` takes constant memory; `memory` reads the whole file first; `auto` takes `memory` below `threshold`.
   * Default `auto`.
   */
  mode?: Mode | 'auto'
  /** Size of the input in bytes from which `auto` streams. Default APR_STREAMING_THRESHOLD, else 4 GiB. */
  threshold?: number
}

/** The names of all options of a whole job. */
export const QUANTIZE_OPTIONS = [
  ...new Set([...Q4K_OPTIONS, ...READER_OPTIONS]),
  'mode',
  'threshold',
  'overwrite',
  'resume',
  'spaceCheck',
  'onProgress',
  'signal',
]

const DEFAULT_THRESHOLD = 4 * 1024 ** 3
/** What Node itself takes with this package and records on their way, and a worker thread with its own: measured. */
const BASE_BYTES = 90e6
const THREAD_BYTES = 20e6
/** What the entries of a tensor take, and how often a byte of metadata is there: as text and bytes, before and after. */
const TENSOR_BYTES = 2500
const METADATA_COPIES = 20

/** @throws AprError `APR_BAD_OPTION` */
export function resolveMode(inputBytes: number, { mode = 'auto', threshold }: ModeOptions): Mode {
  checkChoiceOption('mode', mode, ['auto', 'stream', 'memory'])
  if (mode !== 'auto') return mode
  return inputBytes < checkThreshold(threshold) ? 'memory' : 'stream'
}

/** What the memory of a job follows. */
export interface JobSize {
  readonly inputBytes: number
  readonly outputBytes: number
  readonly tensors: number
  readonly metadataBytes: number
  readonly threads: number
}

/** Peak resident memory of the process, in bytes: an estimate. */
export function estimateMemory(mode: Mode, job: JobSize): number {
  const process =
    BASE_BYTES + job.threads * THREAD_BYTES + job.tensors * TENSOR_BYTES + job.metadataBytes * METADATA_COPIES
  return mode === 'stream' ? process : process + Math.max(job.inputBytes, job.outputBytes)
}

/**
 * Peak resident memory of this process so far. Linux tells it for the program itself; the portable figure can be that
 * of the process that started it.
 */
export async function peakMemoryBytes(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const kibibytes = /^VmHWM:\s*(\d+) kB/m.exec(status)?.[1]
  return (kibibytes === undefined ? process.resourceUsage().maxRSS : Number(kibibytes)) * 1024
}

function checkThreshold(threshold: number | undefined): number {
  const text = process.env['APR_STREAMING_THRESHOLD']
  const value = threshold ?? (text === undefined || text === '' ? DEFAULT_THRESHOLD : Number(text))
  if (!Number.isFinite(value) || value < 0) {
    const name = threshold === undefined ? 'APR_STREAMING_THRESHOLD' : 'threshold'
    throw new AprError('APR_BAD_OPTION', `expected ${name} to be a number of bytes, found ${threshold ?? text}`)
  }
  return value
}
