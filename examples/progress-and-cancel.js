/**
 * Ends a job on its way and shows that nothing is left of it. Then ends it again, this time with `resume`, goes on from
 * what is left, and follows it to its end. Usage: node examples/progress-and-cancel.js [input [output]]
 */
import { existsSync } from 'node:fs'
import { quantize } from 'apr-stream'
import { input, output } from './lib/paths.js'

// By itself a small model is handled in memory; a job that is resumed always streams.
const options = { mode: 'stream' }

/** Starts the job and ends it when three quarters of the input are read. */
async function cancelOnTheWay(resume) {
  const controller = new AbortController()
  try {
    await quantize(input, output, {
      ...options,
      resume,
      signal: controller.signal,
      onProgress({ bytes, totalBytes }) {
        if (bytes > 0.75 * totalBytes) controller.abort()
      },
    })
  } catch (error) {
    if (error.name !== 'AbortError') throw error
    // The stages are closed when the promise rejects, so what is on the disk now is what stays there.
    const isThere = (path) => (existsSync(path) ? 'yes' : 'no')
    console.log(`cancelled, resume ${resume}: output ${isThere(output)}, partial file ${isThere(`${output}.partial`)}`)
  }
}

await cancelOnTheWay(false)
await cancelOnTheWay(true)

let shown = 0
const report = await quantize(input, output, {
  ...options,
  resume: true,
  onProgress({ phase, bytes, totalBytes, tensors, totalTensors, tensor }) {
    // Before it: 'checking', what the earlier run has left is read back.
    if (phase !== 'quantizing') return
    const percent = Math.floor((100 * bytes) / totalBytes)
    if (percent < shown + 20 && bytes < totalBytes) return
    shown = percent
    console.log(`${String(percent).padStart(3)} %  ${tensors} of ${totalTensors} tensors  ${tensor}`)
  },
})
// Of a model as small as the sample nothing was on the disk yet: there it is 0.
console.log(`${report.output}: ${report.outputBytes} bytes, ${report.resumedTensors} tensors from the earlier run`)
