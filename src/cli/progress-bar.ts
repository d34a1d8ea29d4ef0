import { Presets, SingleBar } from 'cli-progress'
import { printable } from '../model/errors.js'
import type { Progress } from '../jobs/quantize.js'
import { bytes } from './output.js'

export interface ProgressBar {
  update: (progress: Progress) => void
  stop: () => void
}

/** A bar on standard error: share, bytes, rate, time left, and the tensor that is being read. */
export function createProgressBar(): ProgressBar {
  const bar = new SingleBar(
    {
      format: '{bar} {percentage}% | {done} of {all} | {rate}/s | {eta_formatted} left | {tensor}',
      hideCursor: true,
      etaBuffer: 200,
      barsize: 24,
      stopOnComplete: false,
      clearOnComplete: true,
      linewrap: false,
    },
    Presets.shades_classic,
  )
  let started: number | undefined
  return {
    update({ bytes: done, totalBytes, tensor }) {
      if (started === undefined) {
        started = performance.now()
        bar.start(totalBytes, 0, { done: '', all: '', rate: '', tensor: '' })
      }
      const seconds = Math.max(0.001, (performance.now() - started) / 1000)
      bar.update(done, {
        done: bytes(done),
        all: bytes(totalBytes),
        rate: bytes(done / seconds),
        tensor: printable(tensor, 60),
      })
    },
    stop() {
      bar.stop()
    },
  }
}
