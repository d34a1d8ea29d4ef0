import { Presets, SingleBar } from 'cli-progress'
import { printable } from '../model/errors.js'
import type { Progress } from '../jobs/job.js'
import { bytes } from './output.js'

export interface ProgressBar {
  update: (progress: Progress) => void
  stop: () => void
}

/** Milliseconds of a phase before which its rate says nothing. */
const SETTLING_MS = 200

/** A bar for each phase, on standard error: share, bytes, rate, time left, and the tensor that was worked on last. */
export function createProgressBar(stream: NodeJS.WritableStream = process.stderr): ProgressBar {
  const bar = new SingleBar(
    {
      stream,
      format: '{phase} {bar} {percentage}% | {done} of {all}{rate} | {tensor}',
      hideCursor: true,
      etaBuffer: 200,
      barsize: 24,
      stopOnComplete: false,
      clearOnComplete: true,
      linewrap: false,
    },
    Presets.shades_classic,
  )
  let current: Progress['phase'] | undefined
  let started = 0
  return {
    update({ phase, bytes: done, totalBytes, tensor }) {
      const isNew = phase !== current
      if (isNew) {
        bar.stop()
        current = phase
        started = performance.now()
      }
      const payload = {
        phase: phase.padEnd('quantizing'.length),
        done: bytes(done),
        all: bytes(totalBytes),
        rate: rate(done, totalBytes - done, performance.now() - started),
        tensor: printable(tensor, 60),
      }
      if (isNew) bar.start(totalBytes, done, payload)
      else bar.update(done, payload)
    },
    stop() {
      bar.stop()
    },
  }
}

/** Bytes a second, and the time that the rest takes at that rate; nothing as long as neither can be told. */
function rate(done: number, left: number, milliseconds: number): string {
  if (milliseconds < SETTLING_MS || done === 0) return ''
  const perSecond = done / (milliseconds / 1000)
  return ` | ${bytes(perSecond)}/s | ${duration(left / perSecond)} left`
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)]
  if (hours > 0) return `${hours} h ${minutes} min`
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`
}
