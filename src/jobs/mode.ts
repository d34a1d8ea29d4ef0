/** Streaming or whole in memory: which, and what it takes. Both give the same file. */
import { readFile } from 'node:fs/promises'
import { AprError } from '../model/errors.js'
import { DEFAULT_THRESHOLD_BYTES } from '../options/table.js'

export type Mode = 'stream' | 'memory'

export interface ModeOptions {
  /**
   * `stream` takes constant memory; `memory` reads the whole file first; `auto` takes `memory` below `threshold`.
   * Default `auto`.
   */
  mode?: Mode | 'auto' | undefined
  /** Size of the input in bytes from which `auto` streams. Default APR_STREAMING_THRESHOLD, else 4 GiB. */
  threshold?: number | undefined
}

/** What Node itself takes with this package and records on their way, and a worker thread with its own: measured. */
const BASE_BYTES = 90e6
const THREAD_BYTES = 20e6
/** What the entries of a tensor take, and how often a byte of metadata is there: as text and bytes, before and after. */
const TENSOR_BYTES = 2500
const METADATA_COPIES = 20

/** What decides the mode, checked. */
export interface ModeChoice {
  readonly mode: Mode | 'auto'
  readonly threshold: number | undefined
  readonly resume: boolean
}

/**
 * Checks the options that only together make no sense.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkMode({ mode, resume }: ModeChoice): void {
  if (resume && mode === 'memory') {
    throw new AprError('APR_BAD_OPTION', 'expected mode stream or auto with resume, found memory')
  }
}

/** @throws AprError `APR_BAD_OPTION` for an environment variable that is no number of bytes */
export function resolveMode(inputBytes: number, { mode, threshold, resume }: ModeChoice): Mode {
  // Only a stream can go on where another ended.
  if (resume) return 'stream'
  if (mode !== 'auto') return mode
  return inputBytes < (threshold ?? defaultThreshold()) ? 'memory' : 'stream'
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

function defaultThreshold(): number {
  const text = process.env['APR_STREAMING_THRESHOLD']
  if (text === undefined || text === '') return DEFAULT_THRESHOLD_BYTES
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) {
    throw new AprError('APR_BAD_OPTION', `expected APR_STREAMING_THRESHOLD to be a number of bytes, found ${text}`)
  }
  return value
}
